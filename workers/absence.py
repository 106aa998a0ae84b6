"""How often in a row each destination could not be reached, and so how long it is left alone."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from regionmir.core.identifiers import AETitle


@dataclass(frozen=True, slots=True)
class _Absence:
    """So many failures in a row, the last of which lets the destination alone `until` (monotonic, seconds)."""

    failures: int
    until: float


class Absences:
    """Counts by destination, not by delivery, so that a destination with an old delivery in its queue waits no longer.

    What fails before the pause is over (a delivery that is new, an operator's `retry`) makes it no longer either.
    `pause_s`: seconds after so many failures. Safe to use from several threads.
    """

    def __init__(self, pause_s: Callable[[int], float]) -> None:
        self._pause_s = pause_s
        self._known: dict[AETitle, _Absence | None] = {}
        self._lock = threading.Lock()

    def failed(self, destination: AETitle) -> float:
        """Note that it could not be reached, and return for how many seconds it is left alone now."""
        with self._lock:
            now, before = time.monotonic(), self._known.get(destination) or _Absence(0, 0.0)
            failures = before.failures + (now >= before.until)
            pause = self._pause_s(failures)
            self._known[destination] = _Absence(failures, now + pause)
            return pause

    def answered(self, destination: AETitle) -> bool:
        """Note that it answers, and return whether that is news: it did not the last time, or was not asked before."""
        with self._lock:
            news = self._known.get(destination, _Absence(0, 0.0)) is not None
            self._known[destination] = None
            return news
