"""Waking the workers from the web process, whether a broker is there or not."""

import structlog

from regionmir.core.errors import BrokerUnavailable
from regionmir.queue import CeleryQueue, IndexQueue

log = structlog.get_logger(__name__)


class _Quiet:
    """An `IndexQueue` that never raises: without a broker, and while it is away, workers find the rows by turns."""

    def __init__(self, queue: CeleryQueue | None) -> None:
        self._queue = queue

    def wake(self) -> None:
        """Have the workers woken, if the broker is there."""
        self._try("wake")

    def wake_search(self) -> None:
        """Have a worker look for drawn boxes, if the broker is there."""
        self._try("wake_search")

    def depth(self) -> int:
        """Return how many wake-ups wait. Raises `BrokerUnavailable`."""
        return 0 if self._queue is None else self._queue.depth()

    def _try(self, what: str) -> None:
        if self._queue is None:
            return
        try:
            getattr(self._queue, what)()
        except BrokerUnavailable as error:
            log.warning("broker away, workers are not woken", why=str(error))


def queue_of(queue: CeleryQueue | None) -> IndexQueue:
    """Return the queue as handlers use it: `wake` never raises."""
    return _Quiet(queue)
