"""One table per service: which DIMSE status and Error Comment says what, and what the conformance statement says of it.

A line with an error is how that error is answered; the others are given by the handlers by their names here. What
STOW-RS and QIDO-RS answer too is in `regionmir.archive.status`.
"""

from typing import Final

from pydicom.dataset import Dataset

from regionmir.archive.errors import NotAuthorized
from regionmir.archive.status import ANYTHING_ELSE, NOT_AUTHORIZED, SUCCESS, Line, Table, found_in
from regionmir.core.errors import (
    DatabaseUnavailable,
    InvalidIdentifier,
    RegionMirError,
    StorageFull,
    StorageUnavailable,
)

CANCEL: Final = 0xFE00
PENDING: Final = 0xFF00
PENDING_WITHOUT_OPTIONAL_KEYS: Final = 0xFF01
NO_SUCH_ACTION: Final = 0x0123
TOO_MANY_ANSWERS: Final = 0xA700
TOO_MANY_INSTANCES: Final = 0xA701
SUB_OPERATIONS_FAILED: Final = 0xA702
DESTINATION_UNKNOWN: Final = 0xA801
SUB_OPERATIONS_WARNING: Final = 0xB000

COMMENT_LENGTH: Final = 64
"""Error Comment (0000,0902) is LO."""

ECHO: Final[Table] = (  # PS3.7 9.1.5.1.4
    Line(SUCCESS, "we are there, whether the database is or not"),
    Line(NOT_AUTHORIZED, "no right to C-ECHO"),
)

FIND: Final[Table] = (  # PS3.4 C.4.1.1.4
    Line(SUCCESS, "all matches were sent"),
    Line(PENDING, "a match"),
    Line(
        PENDING_WITHOUT_OPTIONAL_KEYS,
        "a match while some keys were not supported; a hit of a similarity query; the row that explains a failure",
    ),
    Line(CANCEL, "cancelled"),
    Line(TOO_MANY_ANSWERS, "more than `REGIONMIR_FIND_CAP` match: those sent are right, narrow the query"),
    Line(0xA700, "database away", DatabaseUnavailable, "database away; ask again later"),
    Line(NOT_AUTHORIZED, "no right to query", NotAuthorized),
    Line(
        0xA900,
        "the Identifier does not fit the model: level, hierarchy, value, character set; or a filter cannot be read",
        InvalidIdentifier,
    ),
    Line(0xC000, "another error that we know: the comment says which", RegionMirError),
    ANYTHING_ELSE,
)

RETRIEVE: Final[Table] = (  # PS3.4 C.4.2.1.5, C.4.3.1.4
    Line(SUCCESS, "all sub-operations succeeded; or nothing matches"),
    Line(PENDING, "after each sub-operation but the last"),
    Line(SUB_OPERATIONS_WARNING, "some sub-operations failed, warned, or may not leave as copies"),
    Line(CANCEL, "cancelled"),
    Line(SUB_OPERATIONS_FAILED, "all sub-operations failed"),
    Line(TOO_MANY_INSTANCES, "more than 65,535 instances match"),
    Line(DESTINATION_UNKNOWN, "the move destination is not registered with a host and a port"),
    Line(0xA701, "database away", DatabaseUnavailable, "database away; ask again later"),
    Line(0xA702, "disk full", StorageFull, "disk full"),
    Line(0xA702, "storage away", StorageUnavailable, "storage away; ask again later"),
    Line(
        NOT_AUTHORIZED,
        "no right to retrieve; or copies for one who is not marked `accepts_pseudonyms`; or nothing of what is wanted "
        "may leave as a copy",
        NotAuthorized,
    ),
    Line(
        0xA900, "level unknown to the model; a unique key above or at the level is missing or no UID", InvalidIdentifier
    ),
    Line(0xC000, "another error that we know: the comment says which", RegionMirError),
    ANYTHING_ELSE,
)

COMMITMENT: Final[Table] = (  # PS3.7 10.1.4.1.10, 10.1.1.1.8
    Line(SUCCESS, "noted"),
    Line(NO_SUCH_ACTION, "another Action Type than 1"),
    Line(0x0213, "database away", DatabaseUnavailable, "database away; ask again later"),
    Line(NOT_AUTHORIZED, "no right to store; or not registered with a host and a port to report to", NotAuthorized),
    Line(0x0115, "no instances named, or malformed UIDs", InvalidIdentifier),
    ANYTHING_ELSE,
)
"""Of N-ACTION, and of N-EVENT-REPORT where we are the SCU."""


def status_of(error: Exception, table: Table) -> Dataset:
    """Return the status data set for `error`; the last line of a table is a processing failure (0110H)."""
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
