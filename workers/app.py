"""The Celery application of the workers."""

from typing import Any

from celery import Celery
from celery.utils.log import get_logger
from celery.worker.consumer import Consumer

from regionmir.core.settings import Settings
from regionmir.queue import broker_app

_LONGEST_PAUSE_S = 5.0

log = get_logger(__name__)


class PatientConsumer(Consumer):  # type: ignore[misc]
    """Celery's consumer, but a broker that is away is tried again after 5 seconds at most, not 30, and for ever."""

    def ensure_connected(self, conn: Any) -> Any:
        """Return `conn` once it is connected; a shutdown ends the waiting."""

        def failed(error: Exception, pause_s: float) -> None:
            log.warning("broker away, next try in %.1f s (%s)", pause_s, type(error).__name__)

        conn = conn.ensure_connection(
            failed,
            None,
            interval_start=0.5,
            interval_step=0.5,
            interval_max=_LONGEST_PAUSE_S,
            callback=_maybe_shutdown,
        )
        self.first_connection_attempt = False
        return conn


def _maybe_shutdown() -> None:
    from celery.worker.state import maybe_shutdown

    maybe_shutdown()


def make_app(settings: Settings) -> Celery:
    """Return the application of a worker, without tasks. Nothing is connected yet.

    Tasks are acknowledged when they start (a lost one loses no work, and Redis would give a long one out twice), and a
    worker fetches one at a time, `search` before `index`. Raises `ConfigurationError` without a broker.
    """
    app = broker_app(settings.require_redis_url(), {"queue_order_strategy": "priority"})
    app.conf.update(
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        worker_consumer="workers.app:PatientConsumer",
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_enable_remote_control=False,
    )
    return app
