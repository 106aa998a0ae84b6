"""One table per service from what went wrong to the DIMSE status and Error Comment that say so."""

from typing import Final

from pydicom.dataset import Dataset

from regionmir.archive.errors import NotAuthorized
from regionmir.archive.status import NOT_AUTHORIZED, Table, found_in
from regionmir.core.errors import (
    DatabaseUnavailable,
    InvalidIdentifier,
    RegionMirError,
    StorageFull,
    StorageUnavailable,
)

SUCCESS: Final = 0x0000
CANCEL: Final = 0xFE00
PENDING: Final = 0xFF00
PENDING_WITHOUT_OPTIONAL_KEYS: Final = 0xFF01

COMMENT_LENGTH: Final = 64
"""Error Comment (0000,0902) is LO."""

FIND: Final[Table] = (  # PS3.4 C.4.1.1.4
    (DatabaseUnavailable, 0xA700, "database away; ask again later"),
    (NotAuthorized, NOT_AUTHORIZED, ""),
    (InvalidIdentifier, 0xA900, ""),
    (RegionMirError, 0xC000, ""),
)

RETRIEVE: Final[Table] = (  # PS3.4 C.4.2.1.5, C.4.3.1.4
    (DatabaseUnavailable, 0xA701, "database away; ask again later"),
    (StorageFull, 0xA702, "disk full"),
    (StorageUnavailable, 0xA702, "storage away; ask again later"),
    (NotAuthorized, NOT_AUTHORIZED, ""),
    (InvalidIdentifier, 0xA900, ""),
    (RegionMirError, 0xC000, ""),
)


COMMITMENT: Final[Table] = (  # PS3.7 10.1.4.1.10, 10.1.1.1.8
    (DatabaseUnavailable, 0x0213, "database away; ask again later"),
    (NotAuthorized, NOT_AUTHORIZED, ""),
    (InvalidIdentifier, 0x0115, ""),
)


def status_of(error: Exception, table: Table) -> Dataset:
    """Return the status data set for `error`; one that is not in the table is a processing failure (0110H)."""
    return failure(*found_in(error, table))


def failure(code: int, comment: str = "") -> Dataset:
    """Return a status data set with an Error Comment of at most 64 characters of the default repertoire."""
    status = Dataset()
    status.Status = code
    text = _lo(comment)
    if text:
        status.ErrorComment = text
    return status


def _lo(text: str) -> str:
    """Return `text` as an LO value in ISO 646: no backslash, no control characters (PS3.5 6.2)."""
    plain = "".join(c if " " <= c <= "~" and c != "\\" else "?" for c in text)
    return plain[:COMMENT_LENGTH].rstrip()
