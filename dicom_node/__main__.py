"""The node's process: `python -m dicom_node`."""

import gc
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event

import structlog

from db import migrate
from db.durability import require_durable
from db.engine import Database
from dicom_node import audit_trail, processes
from dicom_node.limits import Limits
from dicom_node.node import Node
from dicom_node.server import Sockets, bound_sockets, serve
from dicom_node.sharing import SharedFailedAnchors
from regionmir.archive.archive import replica_of
from regionmir.archive.removing import copy_dropper
from regionmir.archive.wakeups import Wakeups
from regionmir.core.errors import DatabaseUnavailable, RegionMirError
from regionmir.core.logging import configure_logging
from regionmir.core.readiness import tell_ready
from regionmir.core.settings import Settings, load_settings
from regionmir.monitoring import monitored
from regionmir.monitoring.exporter import metrics_ports
from regionmir.queue import CeleryQueue
from regionmir.sandbox import limit_decoding
from regionmir.storage import FileStore, open_store

log = structlog.get_logger("dicom_node")

DATABASE_DEADLINE_S = 300.0
"""A database that recovers after a crash may need minutes."""

CONNECTIONS = 16
"""To the database, kept open by all processes of the node together; as many more for a while."""

Ready = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Shared:
    """What the processes of the node inherit."""

    settings: Settings
    sockets: Sockets
    number: int
    limits: Limits
    failed_anchors: SharedFailedAnchors


def main() -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit code: 0, or 1 with one clear line."""
    stop = Event()
    _call_on((signal.SIGTERM, signal.SIGINT), stop.set)
    try:
        settings = load_settings()
        configure_logging(settings, "node")
        limit_decoding(settings)
        run(settings, stop)
    except RegionMirError as error:
        print(f"regionmir node: {error}", file=sys.stderr)
        return 1
    return 0


def run(settings: Settings, stop: Event) -> None:
    """Prepare, serve until `stop` is set, and note both in the audit trail. No thread and no connection is left open
    before the processes of the node are made."""
    metrics_ports(settings, processes.count(settings.dicom_processes))
    database = Database(settings.require_database_url(), application_name="regionmir-node", pool_size=1)
    broker = CeleryQueue(settings.require_redis_url())
    store = open_store(settings)
    try:
        swept = store.sweep_incoming()
        if not _database_is_ready(database, stop):
            return
        node = Node(settings, database, store, broker, settings.pseudonymizer())
        sockets = bound_sockets(settings)
        audit_trail.activity(node, started=True)
        database.close()
        _serve(settings, store, sockets, stop, swept)
        audit_trail.activity(node, started=False)
    finally:
        broker.close()
        store.close()
        database.close()


def _serve(settings: Settings, store: FileStore, sockets: Sockets, stop: Event, swept: int) -> None:
    """Serve in one process or in several, until `stop` is set."""
    number = processes.count(settings.dicom_processes)
    limits = Limits(settings.max_associations, settings.max_associations_per_peer)
    shared = Shared(settings, sockets, number, limits, SharedFailedAnchors())

    def ready() -> None:
        listening = {"host": settings.dicom_host, "port": settings.dicom_port, "tls_port": settings.dicom_tls_port}
        log.info("listening", ae_title=settings.ae_title, **listening, processes=number, swept=swept)
        tell_ready()

    try:
        if number == 1:
            accept(shared, 0, stop, ready)
        else:
            _serve_in_processes(shared, store, stop, ready)
    finally:
        sockets.close()
        shared.failed_anchors.close()


def _serve_in_processes(shared: Shared, store: FileStore, stop: Event, ready: Ready) -> None:
    group = processes.Processes(shared.number, lambda number, told: _be_acceptor(shared, number, told))
    _call_on((signal.SIGTERM, signal.SIGINT), group.request_stop)
    if stop.is_set():
        group.request_stop()
    group.start()
    ready()
    group.keep(lambda: _sweep(store))
    log.info("stopping")
    shared.sockets.close()
    group.stop()


def _sweep(store: FileStore) -> None:
    """Delete what a process that ended was receiving."""
    try:
        store.sweep_incoming()
    except RegionMirError as error:
        log.error("incoming files not swept", why=str(error))


def _be_acceptor(shared: Shared, number: int, ready: Ready) -> None:
    """Be one of several processes until SIGTERM. Exits with code 1 and a line in the log where it cannot."""
    stop = Event()
    _call_on((signal.SIGTERM,), stop.set)
    try:
        accept(shared, number, stop, ready)
    except RegionMirError as error:
        log.error("acceptor failed", why=str(error))
        sys.exit(1)


def accept(shared: Shared, number: int, stop: Event, ready: Ready) -> None:
    """Put the node together, accept associations until `stop` is set, and take it apart in order.

    `number`: of the processes of the node, which.
    """
    settings = shared.settings
    connections = max(2, (settings.database_pool or CONNECTIONS) // shared.number)
    database = Database(settings.require_database_url(), application_name="regionmir-node", pool_size=connections)
    replica = replica_of(settings, "node", shared.number)
    broker = CeleryQueue(settings.require_redis_url())
    queue = Wakeups(broker)
    store = open_store(settings)
    copies = copy_dropper(database, store)
    try:
        node = Node(
            settings, database, store, queue, settings.pseudonymizer(),
            failed_anchors=shared.failed_anchors, replica=replica,
        )  # fmt: skip
        with monitored(settings, "node", number):
            server = serve(node, inherited=shared.sockets, limits=shared.limits)
            if number == 0:  # the processes of a node share their copies
                copies.start()
            gc.freeze()  # what is there now stays: no collection needs to look at it again
            ready()
            queue.wake()  # for what a killed node filed without waking anyone
            stop.wait()
            shared.sockets.close()
            server.stop()
    finally:
        copies.stop()
        queue.stop()
        broker.close()
        store.close()
        database.close()
        if replica is not None:
            replica.close()


def _call_on(signals: tuple[signal.Signals, ...], call: Callable[[], None]) -> None:
    for number in signals:
        signal.signal(number, lambda *_: call())


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
