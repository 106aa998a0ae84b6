"""Names of tasks, their payloads, and the protocol by which a process wakes the workers.

A task is only a hint that rows are waiting: losing it loses no work, running it twice does nothing.
"""

from typing import Protocol

INDEX_QUEUE = "index"
SEARCH_QUEUE = "search"
LIGHT_QUEUE = "light"

TASK_INDEX = "regionmir.index"
TASK_RECONCILE = "regionmir.reconcile"


class IndexQueue(Protocol):
    """Wakes index workers."""

    def wake(self) -> None:
        """Say that instances in state `received` are waiting. Raises `BrokerUnavailable`."""

    def depth(self) -> int:
        """Return how many wake-ups wait on the broker. Raises `BrokerUnavailable`."""
