"""Values as PostgreSQL's COPY takes them in binary: each behind its length, big-endian.

A `halfvec` so needs no text of its numbers. The layout is that of "COPY, Binary Format" in PostgreSQL's manual and of
pgvector's `halfvec_recv`.
"""

import datetime as dt
import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

COPY_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_END: Final = b"\xff\xff"

_NULL: Final = struct.pack(">i", -1)
_FIRST_DAY: Final = dt.date(2000, 1, 1).toordinal()


class BigInt(int):
    """An integer of eight bytes."""


Value = int | float | str | dt.date | None


def packed_values(*values: Value) -> bytes:
    """Return values of columns: `int` is integer unless a `BigInt`, `float` double precision, `str` text."""
    return b"".join(map(_packed, values))


def packed_halfvecs(vectors: Sequence[npt.NDArray[np.floating[Any]]]) -> list[bytes]:
    """Return vectors (D,) of one length as values of a column `halfvec`."""
    contents = np.asarray(vectors).astype(">f2")
    rows, width = contents.shape
    head = struct.pack(">ihh", 4 + 2 * width, width, 0)
    return [head + contents[row].tobytes() for row in range(rows)]


def _packed(value: Value) -> bytes:
    match value:
        case None:
            return _NULL
        case BigInt():
            return struct.pack(">iq", 8, value)
        case int():
            return struct.pack(">ii", 4, value)
        case float():
            return struct.pack(">id", 8, value)
        case str():
            content = value.encode()
            return struct.pack(">i", len(content)) + content
        case dt.date():
            return struct.pack(">ii", 4, value.toordinal() - _FIRST_DAY)
