"""From what went wrong to the DIMSE status and the comment that say so; STOW-RS answers the same codes (PS3.18 I.2)."""

from typing import Final

from regionmir.archive.errors import InstanceTooLarge, InvalidCommand, NotAuthorized, SopMismatch
from regionmir.core.errors import (
    DatabaseUnavailable,
    InvalidHeader,
    InvalidIdentifier,
    RegionMirError,
    StorageFull,
    StorageUnavailable,
)

NOT_AUTHORIZED: Final = 0x0124
PROCESSING_FAILURE: Final = 0x0110

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


def found_in(error: Exception, table: Table) -> tuple[int, str]:
    """Return status and comment for `error`; one that is not in the table is a processing failure (0110H)."""
    for kind, code, comment in table:
        if isinstance(error, kind):
            return code, comment or str(error)
    return PROCESSING_FAILURE, "internal error; see the log of the node"
