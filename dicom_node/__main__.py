"""The node's process: `python -m dicom_node`."""

import gc
import signal
import sys
import time
from threading import Event

import structlog

from db import migrate
from db.durability import require_durable
from db.engine import Database
from dicom_node import audit_trail
from dicom_node.node import Node
from dicom_node.server import serve
from regionmir.archive.archive import replica_of
from regionmir.archive.wakeups import Wakeups
from regionmir.core.errors import DatabaseUnavailable, RegionMirError
from regionmir.core.logging import configure_logging
from regionmir.core.readiness import tell_ready
from regionmir.core.settings import Settings, load_settings
from regionmir.monitoring import monitored
from regionmir.queue import CeleryQueue
from regionmir.sandbox import limit_decoding
from regionmir.storage import open_store

log = structlog.get_logger("dicom_node")

POOL_SIZE = 16
DATABASE_DEADLINE_S = 300.0
"""A database that recovers after a crash may need minutes."""


def main() -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit code: 0, or 1 with one clear line."""
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = load_settings()
        configure_logging(settings, "node")
        limit_decoding(settings)
        with monitored(settings, "node"):
            run(settings, stop)
    except RegionMirError as error:
        print(f"regionmir node: {error}", file=sys.stderr)
        return 1
    return 0


def run(settings: Settings, stop: Event) -> None:
    """Put the node together, serve until `stop` is set, and take it apart in order."""
    database = Database(
        settings.require_database_url(), application_name="regionmir-node", pool_size=settings.database_pool or 16
    )
    replica = replica_of(settings, "node")
    broker = CeleryQueue(settings.require_redis_url())
    queue = Wakeups(broker)
    store = open_store(settings)
    try:
        swept = store.sweep_incoming()
        if not _database_is_ready(database, stop):
            return
        node = Node(settings, database, store, queue, settings.pseudonymizer(), replica=replica)
        server = serve(node)
        audit_trail.activity(node, started=True)
        listening = {"host": settings.dicom_host, "port": server.port, "tls_port": server.tls_port}
        log.info("listening", ae_title=settings.ae_title, **listening, swept=swept)
        gc.freeze()  # what is there now stays: no collection needs to look at it again
        tell_ready()
        queue.wake()  # for what a killed node filed without waking anyone
        stop.wait()
        log.info("stopping")
        server.stop()
        audit_trail.activity(node, started=False)
    finally:
        queue.stop()
        broker.close()
        store.close()
        database.close()
        if replica is not None:
            replica.close()


def _database_is_ready(database: Database, stop: Event) -> bool:
    """Return True once the database answers and has our schema, False where the process is to stop before.

    Raises `ConfigurationError` where it could lose what was acknowledged.
    """
    deadline = time.monotonic() + DATABASE_DEADLINE_S
    log.info("waiting for the database")
    while not stop.is_set():
        try:
            database.wait_ready(1.0)
            migrate.wait_current(database, 1.0)
            require_durable(database)
            return True
        except DatabaseUnavailable:
            if time.monotonic() > deadline:
                raise
    return False


if __name__ == "__main__":
    sys.exit(main())
