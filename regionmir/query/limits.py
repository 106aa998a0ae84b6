"""A brake on guessing anchors."""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Final

from regionmir.core.errors import QueryRefused

GUESSES: Final = frozenset({"unknown-anchor", "ambiguous-anchor"})
"""Refusals that count: what a caller gets who tries names that it does not know."""


class FailedAnchors:
    """Counts the guesses of each AE; after `most` in `window_s` seconds it has to wait. Safe among threads."""

    def __init__(self, *, most: int = 20, window_s: float = 60.0, now: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self.window_s = window_s
        self._now = now
        self._lock = threading.Lock()
        self._failed_at: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=most))

    def check(self, ae_title: str) -> None:
        """Raise `QueryRefused` where this AE has guessed too often, whatever it asks now."""
        with self._lock:
            failed = self._failed_at.get(ae_title)
            if failed and len(failed) == self.most and failed[0] > self._now() - self.window_s:
                raise QueryRefused("rate-limited", "too many unknown anchors; wait a minute")

    def note(self, ae_title: str, error: QueryRefused) -> None:
        """Count a refusal if it is one of a guess."""
        if error.code in GUESSES:
            with self._lock:
                self._failed_at[ae_title].append(self._now())
