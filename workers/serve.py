"""Composition of a worker process: what it is made of, how it starts and how it ends."""

import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from threading import Event
from typing import Any

import structlog
from celery import Celery
from celery.platforms import SecurityWarning
from celery.signals import setup_logging, worker_shutting_down

from db import embeddings
from db.engine import Database
from db.migrate import wait_current
from regionmir.archive.removing import copy_dropper, remove_objects
from regionmir.archive.retention import Retention, terms_of
from regionmir.core.identifiers import parse_ae_title
from regionmir.core.periodic import Periodic
from regionmir.core.readiness import tell_ready
from regionmir.core.settings import Settings
from regionmir.core.syslog import parse_syslog_target
from regionmir.queue import INDEX_QUEUE, LIGHT_QUEUE, SEARCH_QUEUE, CeleryQueue
from regionmir.results.making import KINDS
from regionmir.results.outbox import ResultOutbox
from regionmir.storage import open_store
from regionmir.storage.uploads import Uploads
from workers.answering import Answering
from workers.app import make_app
from workers.audit_forwarding import AuditForwarder
from workers.catching_up import CatchUp
from workers.commitment import CommitmentReporter
from workers.completion import Completion
from workers.delivery import Deliverer
from workers.indexer import Indexer
from workers.memory import give_back
from workers.models import Load, Models
from workers.pacs_sync import DeletionHook, PacsSync
from workers.planning import StudyPlanner
from workers.recall import measure_recall
from workers.reconcile import reconcile
from workers.results import ResultMaker
from workers.tasks import add_explain_task, add_index_task, add_reconcile_task, add_search_task
from workers.uploads import sweep

POLL_S = 2.0
"""An index worker that nobody wakes looks into the table after this time: a lost broker delays work, no more."""

_LIGHT_THREADS = 4
_POOL_SIZE = 5
_DATABASE_DEADLINE_S = 300.0
_HOUSEKEEPING_S = 600.0
_OUTBOX_S = 2.0
_ANSWER_S = 0.5
_GIVE_BACK_S = 60.0
"""Films of other sizes leave other gaps: 6 MiB more every few hundred films, if nobody gives them back."""

log = structlog.get_logger(__name__)


def serve_index(settings: Settings, load_model: Load, configured: str = "", *, poll_s: float = POLL_S) -> int:
    """Index until SIGTERM, then finish the batch, give back the leases and return 0.

    Models are loaded and used in this one process, which never forks: torch and CUDA would not survive it.
    `configured`: where the model of the settings is, as every index worker finds it.
    """
    _stop_while_starting()
    app = make_app(settings)
    with ExitStack() as at_end:
        database = at_end.enter_context(_database(settings, "regionmir index worker"))
        objects = at_end.enter_context(closing(open_store(settings)))
        limits = (settings.batch_size, settings.lease_s, settings.max_pixels)
        models = Models(database, load_model, configured)
        models.start()
        first = models.active().model
        indexer = Indexer(
            database, objects, first, *limits, uploads=Uploads(settings.uploads_dir), models=models,
            storage_policy=settings.storage_policy,
        )  # fmt: skip
        catch_up = CatchUp(
            database, objects, models, settings.batch_size, settings.lease_s, settings.generation_share,
            settings.max_pixels,
        )  # fmt: skip
        others = Periodic("catch-up", poll_s, catch_up.look)
        at_end.callback(others.stop)
        at_end.callback(catch_up.stop)
        at_end.enter_context(_told_to_stop(indexer.stop))
        at_end.enter_context(_told_to_stop(catch_up.stop))
        poll = Periodic("poll", poll_s, partial(indexer.drain, wait=False), immediately=True)
        at_end.callback(poll.stop)
        at_end.callback(indexer.close)
        add_index_task(app, indexer.drain)
        add_search_task(app, indexer.embed_boxes)
        add_explain_task(app, indexer.explain_pairs)
        memory = Periodic("give-back-memory", _GIVE_BACK_S, give_back)
        at_end.callback(memory.stop)
        copies = copy_dropper(database, objects)
        at_end.callback(copies.stop)
        for timer in (poll, others, memory, copies):
            timer.start()
        return _work(app, [SEARCH_QUEUE, INDEX_QUEUE], pool="solo")


def serve_light(settings: Settings) -> int:
    """Deliver, reconcile and keep house until SIGTERM and return 0. Without torch; the timers need no broker."""
    _stop_while_starting()
    app = make_app(settings)
    with ExitStack() as at_end:
        queue = at_end.enter_context(closing(CeleryQueue(settings.require_redis_url())))
        database = at_end.enter_context(_database(settings, "regionmir light worker"))
        pseudonymizer = settings.pseudonymizer()
        answering = Answering(database, settings.default_k, ResultOutbox(pseudonymizer))
        look_after = partial(
            reconcile, database, queue, lease_s=settings.lease_s, delivery_lease_s=settings.delivery_lease_s
        )
        own_ae = parse_ae_title(settings.ae_title)
        objects, tls_files = at_end.enter_context(closing(open_store(settings))), settings.tls_files
        maker = ResultMaker(database, objects, pseudonymizer, settings.max_pixels)
        deliverer = Deliverer(database, own_ae, dict.fromkeys(KINDS, maker), tls_files=tls_files)
        deliverer.lease_s = settings.delivery_lease_s
        at_end.callback(deliverer.close)
        policy = settings.storage_policy
        reporter = CommitmentReporter(database, objects, own_ae, tls_files=tls_files, storage_policy=policy)
        planner = StudyPlanner(database, pseudonymizer, settings.searched_regions(), settings.default_k)
        completion = Completion(database, [planner], quiet_s=settings.quiet_s)
        sync = PacsSync(settings, database)
        forget_uploads = partial(sweep, database, Uploads(settings.uploads_dir), settings.upload_keep_s)
        if settings.pacs_hook_port:
            at_end.callback(DeletionHook(settings.pacs_hook_host, settings.pacs_hook_port, sync).stop)
        timers = [
            Periodic("follow-pacs", settings.pacs_sync_s, sync.look, immediately=True),
            Periodic("complete-studies", _OUTBOX_S, completion.look),
            Periodic("report-commitments", _OUTBOX_S, reporter.report_due),
            Periodic("deliver", _OUTBOX_S, deliverer.drain, immediately=True),
            Periodic("reconcile", settings.reconcile_s, look_after, immediately=True),
            Periodic("wanted-answers", _ANSWER_S, partial(_answer, answering, deliverer), immediately=True),
            Periodic("forget-uploads", min(_HOUSEKEEPING_S, settings.upload_keep_s), forget_uploads, immediately=True),
            Periodic("remove-deleted", _HOUSEKEEPING_S, partial(remove_objects, database, objects), immediately=True),
            copy_dropper(database, objects),
            Periodic("index-embeddings", _HOUSEKEEPING_S, partial(embeddings.ensure_ann_indexes, database)),
        ]
        stopping = Event()
        retention = Retention(database, objects, terms_of(settings), settings.max_pixels, stopping.is_set)
        timers += [
            Periodic("retention", settings.retention_run_s, retention.run, immediately=True),
            Periodic("remove-objects", _HOUSEKEEPING_S, retention.remove_files),
        ]
        if settings.recall_probe_s:
            timers.append(Periodic("probe-recall", settings.recall_probe_s, partial(measure_recall, database)))
        if settings.audit_syslog:
            target = parse_syslog_target(settings.audit_syslog)
            forwarder = AuditForwarder(database, target, settings.tls_files)
            timers.append(Periodic("forward-audit", _OUTBOX_S, forwarder.forward, immediately=True))
        add_reconcile_task(app, look_after)
        for timer in timers:
            at_end.callback(timer.stop)
            timer.start()
        at_end.callback(sync.stop)
        at_end.callback(stopping.set)
        return _work(app, [LIGHT_QUEUE], pool="threads", concurrency=_LIGHT_THREADS)


def _answer(answering: Answering, deliverer: Deliverer) -> None:
    """Answer what waits and send it at once: somebody looks at a viewer."""
    if answering.answer_waiting():
        deliverer.drain()


def _stop_while_starting() -> None:
    """Let SIGTERM end this process cleanly until Celery's worker takes the signal over."""

    def stop(*_: object) -> None:
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)


@contextmanager
def _database(settings: Settings, name: str) -> Iterator[Database]:
    """Yield the database once its schema is current."""
    pool_size = settings.database_pool or _POOL_SIZE
    database = Database(settings.require_database_url(), application_name=name, pool_size=pool_size)
    try:
        wait_current(database, _DATABASE_DEADLINE_S)
        yield database
    finally:
        database.close()


def _work(app: Celery, queues: list[str], **options: Any) -> int:
    """Run Celery's worker until SIGTERM or SIGINT and return its exit code."""
    setup_logging.connect(_logging_is_set_up, weak=False)
    warnings.simplefilter("ignore", SecurityWarning)  # of running as root: it is about pickled messages, ours are JSON
    worker = app.Worker(queues=queues, quiet=True, without_gossip=True, without_mingle=True, **options)
    log.info("worker started", queues=queues)
    tell_ready()
    worker.start()
    log.info("worker stopped")
    return int(worker.exitcode or 0)


def _logging_is_set_up(**_: object) -> None:
    """Keep Celery from setting up logging of its own."""


@contextmanager
def _told_to_stop(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` as soon as the worker is asked to shut down, also in the middle of a task."""

    def receiver(**_: object) -> None:
        stop()

    worker_shutting_down.connect(receiver, weak=False)
    try:
        yield
    finally:
        worker_shutting_down.disconnect(receiver)
