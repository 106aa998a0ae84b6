"""Waiting for processes to end."""

import time
from collections.abc import Iterable

import psutil


def still_running(processes: Iterable[psutil.Process], deadline_s: float = 10.0) -> list[psutil.Process]:
    """Return those that have not ended at the deadline; a zombie that nobody reaps has ended."""
    end = time.monotonic() + deadline_s
    left = list(processes)
    while (left := [process for process in left if _runs(process)]) and time.monotonic() < end:
        time.sleep(0.05)
    return left


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
