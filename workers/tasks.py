"""Names and retries of the tasks, and nothing else: what they do is handed in."""

from collections.abc import Callable

from celery import Celery

from regionmir.core.errors import Transient
from regionmir.queue import TASK_EXPLAIN, TASK_INDEX, TASK_RECONCILE, TASK_SEARCH

RETRY_AT_MOST_S = 30
"""Longest pause before a retry; below the visibility timeout, or the broker would give the waiting task to another."""

_RETRIES = {
    "autoretry_for": (Transient,),
    "max_retries": 8,
    "retry_backoff": 1,
    "retry_backoff_max": RETRY_AT_MOST_S,
    "retry_jitter": True,
}


def add_index_task(app: Celery, drain: Callable[[], object]) -> None:
    """Let the wake-up `regionmir.index` call `drain`."""

    @app.task(name=TASK_INDEX, **_RETRIES)  # type: ignore[untyped-decorator]
    def index() -> None:
        drain()


def add_search_task(app: Celery, embed: Callable[[], object]) -> None:
    """Let the wake-up `regionmir.search` call `embed`."""

    @app.task(name=TASK_SEARCH, **_RETRIES)  # type: ignore[untyped-decorator]
    def search() -> None:
        embed()


def add_explain_task(app: Celery, explain: Callable[[], object]) -> None:
    """Let the wake-up `regionmir.explain` call `explain`."""

    @app.task(name=TASK_EXPLAIN, **_RETRIES)  # type: ignore[untyped-decorator]
    def run() -> None:
        explain()


def add_reconcile_task(app: Celery, reconcile: Callable[[], object]) -> None:
    """Let the task `regionmir.reconcile` call `reconcile`."""

    @app.task(name=TASK_RECONCILE, **_RETRIES)  # type: ignore[untyped-decorator]
    def run() -> None:
        reconcile()
