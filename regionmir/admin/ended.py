"""Waiting for processes that are nobody's, or somebody else's, children to end."""

import time
from collections.abc import Iterable

import psutil

_POLL_S = 0.05


def still_running(processes: Iterable[psutil.Process], patience_s: float) -> list[psutil.Process]:
    """Return those that have not ended after `patience_s`; a zombie that nobody reaps has ended."""
    end = time.monotonic() + patience_s
    left = list(processes)
    while (left := [process for process in left if _runs(process)]) and time.monotonic() < end:
        time.sleep(_POLL_S)
    return left


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
