"""One table per service: which DIMSE status and Error Comment says what, and what the conformance statement says of it.

A line with an error is how that error is answered; the others are given by the handlers by their names here.
"""

from typing import Final, NamedTuple

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
NO_SUCH_ACTION: Final = 0x0123
TOO_MANY_ANSWERS: Final = 0xA700
TOO_MANY_INSTANCES: Final = 0xA701
SUB_OPERATIONS_FAILED: Final = 0xA702
DESTINATION_UNKNOWN: Final = 0xA801
SUB_OPERATIONS_WARNING: Final = 0xB000

COMMENT_LENGTH: Final = 64
"""Error Comment (0000,0902) is LO."""


class Line(NamedTuple):
    """One status. `when` is for the conformance statement; an empty comment is the error's message."""

    status: int
    when: str
    error: type[Exception] | tuple[type[Exception], ...] | None = None
    comment: str = ""


Table = tuple[Line, ...]
"""The first line whose error fits is used."""

_ANYTHING_ELSE: Final = Line(
    PROCESSING_FAILURE, "internal error; the log says where", Exception, "internal error; see the log of the node"
)

ECHO: Final[Table] = (  # PS3.7 9.1.5.1.4
    Line(SUCCESS, "we are there, whether the database is or not"),
    Line(NOT_AUTHORIZED, "no right to C-ECHO"),
)

STORE: Final[Table] = (  # PS3.4 B.2.3, PS3.7 9.1.1.1.9
    Line(
        SUCCESS, "stored; or the same instance is stored already (equal data set, or equal header and decoded pixels)"
    ),
    Line(0xA700, "disk full", StorageFull, "disk full, nothing stored; send again later"),
    Line(0xA701, "database away", DatabaseUnavailable, "database away, nothing stored; send again later"),
    Line(0xA702, "storage away", StorageUnavailable, "storage away, nothing stored; send again later"),
    Line(0xA703, "larger than `REGIONMIR_MAX_INSTANCE_BYTES`", InstanceTooLarge),
    Line(0xA900, "SOP Class or Instance UID differs between command and data set", SopMismatch),
    Line(0xC001, "the command's UIDs are missing or no UIDs", InvalidCommand),
    Line(
        0xC000,
        "the data set does not decode, or lacks a Study, Series or SOP Instance UID, or one is no UID",
        (InvalidHeader, InvalidIdentifier),
    ),
    Line(
        NOT_AUTHORIZED,
        "no right to store; or a different instance under a known UID, without the right to correct it (it is kept "
        "aside)",
        NotAuthorized,
    ),
    _ANYTHING_ELSE,
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
    _ANYTHING_ELSE,
)

SIMILAR: Final[dict[str, Line]] = {  # Cxxx: unable to process, PS3.4 C.4.1.1.4
    "bad-token": Line(0xA900, "the search expression or block cannot be read; k is not 1 to 200"),
    "bad-box": Line(0xA900, "the drawn box is no box, or outside the image"),
    "contradiction": Line(0xA900, "two keys, or expression and block, ask for different things"),
    "unknown-region": Line(0xA900, "no region has this name"),
    "region-required": Line(0xA900, "no region is named, and neither the AE title nor a box means one"),
    "rate-limited": Line(0xA700, "too many failed anchors in a minute"),
    "unknown-anchor": Line(0xC101, "no such anchor, or none that the asker may name"),
    "ambiguous-anchor": Line(0xC102, "the accession number names more than one patient"),
    "not-indexed": Line(0xC103, "the anchor is not indexed yet: ask again"),
    "failed-anchor": Line(0xC104, "the anchor failed to be indexed"),
    "unsupported-anchor": Line(0xC105, "the anchor has no frontal chest radiograph (another modality, a lateral view)"),
    "no-region": Line(0xC106, "the region was not found in the anchor"),
    "region-off": Line(0xC107, "the active model does not find this region"),
    "no-model": Line(0xC108, "no model is active yet"),
    "last-none": Line(0xC109, "`LAST`: no recent study of this AE"),
    "last-ambiguous": Line(0xC10A, "`LAST`: recent studies of several patients"),
    "no-hits": Line(0xC10B, "no other patient has this region indexed yet, or none passes the filters"),
    "box-waiting": Line(0xC10C, "the drawn box is not embedded yet: ask again"),
    "box-failed": Line(0xC10D, "the drawn box cannot be embedded"),
}
"""Failure statuses of similarity queries by the code of the refusal; the comment is the refusal's message."""

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
    _ANYTHING_ELSE,
)

COMMITMENT: Final[Table] = (  # PS3.7 10.1.4.1.10, 10.1.1.1.8
    Line(SUCCESS, "noted"),
    Line(NO_SUCH_ACTION, "another Action Type than 1"),
    Line(0x0213, "database away", DatabaseUnavailable, "database away; ask again later"),
    Line(NOT_AUTHORIZED, "no right to store; or not registered with a host and a port to report to", NotAuthorized),
    Line(0x0115, "no instances named, or malformed UIDs", InvalidIdentifier),
    _ANYTHING_ELSE,
)
"""Of N-ACTION, and of N-EVENT-REPORT where we are the SCU."""


def status_of(error: Exception, table: Table) -> Dataset:
    """Return the status data set for `error`; the last line of a table is a processing failure (0110H)."""
    for line in table:
        if line.error is not None and isinstance(error, line.error):
            return failure(line.status, line.comment or str(error))
    raise AssertionError("a table ends with a line for every error")


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
