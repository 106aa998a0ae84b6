"""One table per service from what went wrong to the DIMSE status and Error Comment that say so."""

from typing import Final

from pydicom.dataset import Dataset

from dicom_node.errors import InstanceTooLarge, InvalidCommand, NotAuthorized, SopMismatch
from regionmir.core.errors import (
    DatabaseUnavailable,
    InvalidHeader,
    InvalidIdentifier,
    RegionMirError,
    StorageFull,
    StorageUnavailable,
)

SUCCESS: Final = 0x0000
CANCEL: Final = 0xFE00
PENDING: Final = 0xFF00
PENDING_WITHOUT_OPTIONAL_KEYS: Final = 0xFF01
NOT_AUTHORIZED: Final = 0x0124
PROCESSING_FAILURE: Final = 0x0110

COMMENT_LENGTH: Final = 64
"""Error Comment (0000,0902) is LO."""

Table = tuple[tuple[type[RegionMirError], int, str], ...]
"""(error, status, comment); the first line whose error fits is used, an empty comment is the error's message."""

STORE: Final[Table] = (  # PS3.4 B.2.3, PS3.7 9.1.1.1.9
    (StorageFull, 0xA700, "disk full, nothing stored; send again later"),
    (DatabaseUnavailable, 0xA701, "database away, nothing stored; send again later"),
    (StorageUnavailable, 0xA702, "storage away, nothing stored; send again later"),
    (InstanceTooLarge, 0xA703, ""),
    (SopMismatch, 0xA900, ""),
    (InvalidCommand, 0xC001, ""),
    (InvalidHeader, 0xC000, ""),
    (InvalidIdentifier, 0xC000, ""),
    (NotAuthorized, NOT_AUTHORIZED, ""),
)

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
    for kind, code, comment in table:
        if isinstance(error, kind):
            return failure(code, comment or str(error))
    return failure(PROCESSING_FAILURE, "internal error; see the log of the node")


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
