"""Gives memory that lies free between buffers back to the system: malloc keeps it, and with it a worker would grow."""

import ctypes
from functools import cache
from typing import Any


def give_back() -> bool:
    """Return free pages of all arenas to the system; False where malloc cannot (it is not glibc's)."""
    trim = _malloc_trim()
    return trim is not None and bool(trim(0))


@cache
def _malloc_trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return None
