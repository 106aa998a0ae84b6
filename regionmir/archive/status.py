"""From what went wrong to the DIMSE status and the comment that say so, where DICOMweb answers the same.

STOW-RS answers the codes of a C-STORE (PS3.18 I.2); the row that explains a refused similarity query shows its code.
"""

from typing import Final, NamedTuple

from regionmir.archive.errors import InstanceTooLarge, InvalidCommand, NotAuthorized, SopMismatch
from regionmir.core.errors import (
    DatabaseUnavailable,
    InvalidHeader,
    InvalidIdentifier,
    StorageFull,
    StorageUnavailable,
)

SUCCESS: Final = 0x0000
NOT_AUTHORIZED: Final = 0x0124
PROCESSING_FAILURE: Final = 0x0110


class Line(NamedTuple):
    """One status. `when` is for the conformance statement; an empty comment is the error's message."""

    status: int
    when: str
    error: type[Exception] | tuple[type[Exception], ...] | None = None
    comment: str = ""


Table = tuple[Line, ...]
"""The first line whose error fits is used."""

ANYTHING_ELSE: Final = Line(
    PROCESSING_FAILURE, "internal error; the log says where", Exception, "internal error; see the log of the node"
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
    ANYTHING_ELSE,
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


def found_in(error: Exception, table: Table) -> tuple[int, str]:
    """Return status and comment for `error`; the last line of a table is a processing failure (0110H)."""
    for line in table:
        if line.error is not None and isinstance(error, line.error):
            return line.status, line.comment or str(error)
    raise AssertionError("a table ends with a line for every error")
