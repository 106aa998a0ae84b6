"""What the processes of one node count together: connections, associations, and who guesses anchors.

Both are made before the processes are, in memory and files that these inherit; locks belong to the kernel, which lets
go of those of a killed process.
"""

import fcntl
import hashlib
import mmap
import struct
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from threading import Lock
from typing import IO

from regionmir.core.errors import QueryRefused
from regionmir.query.limits import GUESSES, FailedAnchors

Client = tuple[str, int]
"""Address and port of the other end of a connection."""

_DIGEST_BYTES = 8
_NOBODY = bytes(_DIGEST_BYTES)
_GUESS = struct.Struct("<8sd")
_NEXT = struct.Struct("<Q")
_KEPT = 4096
"""Guesses remembered, of all callers together; two hundred callers may guess their most in a minute."""


class Full(Enum):
    """Why there is no place."""

    IN_ALL = "all are taken"
    OF_PEER = "this address has as many as it may"


class Places:
    """So many places for connections, `per_peer` of them for one address, over all processes that inherit this.

    A place is taken by a lock on a byte of a file; beside it, in shared memory, is a digest of whose it is. What a
    killed process leaves there counts until somebody finds no place, and then no more.
    """

    def __init__(self, most: int, per_peer: int) -> None:
        self._most, self._per_peer = most, per_peer
        self._holders = mmap.mmap(-1, most * _DIGEST_BYTES)
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - as long as this object
        self._own: dict[Client, int] = {}
        self._lock = Lock()
        weakref.finalize(self, self._file.close)

    def take(self, client: Client) -> Full | None:
        """Take a place, or return why there is none. A client that has one keeps it."""
        whose = _digest(client[0])
        with self._lock, _alone(self._file, self._most):
            if client in self._own:
                return None
            found = self._place_for(whose)
            if isinstance(found, Full) and self._forget_the_dead():
                found = self._place_for(whose)
            if isinstance(found, Full):
                return found
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, found)
            self._own[client] = found
            self._note(found, whose)
            return None

    def give_back(self, client: Client) -> None:
        """Free the place of a client; one that has none is no error."""
        with self._lock, _alone(self._file, self._most):
            place = self._own.pop(client, None)
            if place is not None:
                self._note(place, _NOBODY)
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)

    def _place_for(self, whose: bytes) -> int | Full:
        holders = self._all_holders()
        if _NOBODY not in holders:
            return Full.IN_ALL
        return Full.OF_PEER if holders.count(whose) >= self._per_peer else holders.index(_NOBODY)

    def _forget_the_dead(self) -> bool:
        """Free what killed processes held; return whether there was any."""
        others = set(range(self._most)) - set(self._own.values())
        holders = self._all_holders()
        dead = [place for place in others if holders[place] != _NOBODY and self._is_unlocked(place)]
        for place in dead:
            self._note(place, _NOBODY)
        return bool(dead)

    def _is_unlocked(self, place: int) -> bool:
        """Return whether nobody has the lock of a place that is not our own."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except OSError:  # another process has it
            return False
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)
        return True

    def _all_holders(self) -> list[bytes]:
        return [self._holders[at : at + _DIGEST_BYTES] for at in range(0, len(self._holders), _DIGEST_BYTES)]

    def _note(self, place: int, whose: bytes) -> None:
        self._holders[place * _DIGEST_BYTES : (place + 1) * _DIGEST_BYTES] = whose


class SharedFailedAnchors(FailedAnchors):
    """Counts as `FailedAnchors` does, over all processes that inherit this."""

    def __init__(self, *, most: int = 20, window_s: float = 60.0, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(most=most, window_s=window_s, now=now)
        self._memory = mmap.mmap(-1, _NEXT.size + _KEPT * _GUESS.size)
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process

    def check(self, ae_title: str) -> None:
        """Raise `QueryRefused` where this AE has guessed too often, whatever it asks now."""
        who, since = _digest(ae_title), self._now() - self.window_s
        with self._lock, _alone(self._file):
            guesses = sum(one == who and at > since for one, at in self._kept())
        if guesses >= self.most:
            raise QueryRefused("rate-limited", "too many unknown anchors; wait a minute")

    def note(self, ae_title: str, error: QueryRefused) -> None:
        """Count a refusal if it is one of a guess."""
        if error.code not in GUESSES:
            return
        with self._lock, _alone(self._file):
            (number,) = _NEXT.unpack_from(self._memory)
            _GUESS.pack_into(self._memory, _NEXT.size + number % _KEPT * _GUESS.size, _digest(ae_title), self._now())
            _NEXT.pack_into(self._memory, 0, number + 1)

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()
        self._file.close()

    def _kept(self) -> Iterator[tuple[bytes, float]]:
        (number,) = _NEXT.unpack_from(self._memory)
        end = _NEXT.size + min(number, _KEPT) * _GUESS.size
        return _GUESS.iter_unpack(self._memory[_NEXT.size : end])


@contextmanager
def _alone(file: IO[bytes], at: int = 0) -> Iterator[None]:
    """Be the only process that has the lock of this byte; among the threads of one process it is no lock."""
    fcntl.lockf(file, fcntl.LOCK_EX, 1, at)
    try:
        yield
    finally:
        fcntl.lockf(file, fcntl.LOCK_UN, 1, at)


def _digest(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=_DIGEST_BYTES).digest()
