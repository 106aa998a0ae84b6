"""Waking the workers without making a sender wait for the broker."""

from threading import Event, Thread

import structlog

from regionmir.core.errors import BrokerUnavailable
from regionmir.queue import IndexQueue

log = structlog.get_logger(__name__)

PAUSE_S = 0.2
"""Wake-ups within this time become one."""


class Wakeups:
    """An `IndexQueue` whose `wake` returns at once: one thread passes wake-ups on, many as one.

    While the broker is away it tries again every second; `reconcile` finds the instances in any case.
    """

    def __init__(self, queue: IndexQueue, *, pause_s: float = PAUSE_S, retry_s: float = 1.0) -> None:
        self._queue = queue
        self._pause_s = pause_s
        self._retry_s = retry_s
        self._wanted = Event()
        self._stopped = Event()
        self._away = False
        self._thread = Thread(target=self._run, name="wakeups", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Have the workers woken soon. Never blocks, never raises."""
        self._wanted.set()

    def wake_search(self) -> None:
        """Have a worker look at once for drawn boxes. Never raises: while the broker is away, workers look by turns."""
        try:
            self._queue.wake_search()
        except BrokerUnavailable as error:
            log.warning("broker away, workers are not woken for a drawn box", why=str(error))

    def depth(self) -> int:
        """Return how many wake-ups wait on the broker. Raises `BrokerUnavailable`."""
        return self._queue.depth()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Pass on what is wanted and end the thread."""
        self._stopped.set()
        self._wanted.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._wanted.wait()
            self._wanted.clear()
            if self._pass_on():
                self._stopped.wait(self._pause_s)
            elif not self._stopped.wait(self._retry_s):
                self._wanted.set()

    def _pass_on(self) -> bool:
        try:
            self._queue.wake()
        except BrokerUnavailable as error:
            if not self._away:
                log.warning("broker away, workers are not woken", why=str(error))
            self._away = True
            return False
        if self._away:
            log.info("broker back")
        self._away = False
        return True
