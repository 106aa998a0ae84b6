"""Bytes that were costly to make, kept in memory while there is room."""

import threading
from collections import OrderedDict


class Kept:
    """The newest values by key, `limit_bytes` in all. Safe among threads."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._values: OrderedDict[object, bytes] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def get(self, key: object) -> bytes | None:
        """Return what is kept under `key`, None if nothing is."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: object, value: bytes) -> bytes:
        """Keep `value` while there is room, and return it."""
        with self._lock:
            if key not in self._values:
                self._values[key] = value
                self._size += len(value)
            while self._size > self._limit_bytes:
                self._size -= len(self._values.popitem(last=False)[1])
        return value
