"""What a peer answered: a DIMSE status with its comment (PS3.7 Annex C)."""

from collections.abc import Collection
from dataclasses import dataclass

from pydicom.dataset import Dataset

_WARNINGS = frozenset({0x0001, 0x0107, 0x0116})


@dataclass(frozen=True, slots=True)
class Status:
    """A DIMSE status code with the Error Comment (0000,0902) that came with it."""

    code: int
    comment: str = ""

    @property
    def is_success(self) -> bool:
        return self.code == 0x0000

    @property
    def is_pending(self) -> bool:
        return self.code in (0xFF00, 0xFF01)

    @property
    def is_cancel(self) -> bool:
        return self.code == 0xFE00

    @property
    def is_warning(self) -> bool:
        return self.code in _WARNINGS or 0xB000 <= self.code <= 0xBFFF

    @property
    def is_failure(self) -> bool:
        return not (self.is_success or self.is_pending or self.is_cancel or self.is_warning)

    def __str__(self) -> str:
        return f"0x{self.code:04X} {self.comment}".rstrip()


def read_status(answer: Dataset) -> Status | None:
    """Return the status in a response, or None where the peer gave none (it aborted or went silent)."""
    code = answer.get("Status")
    if code is None:
        return None
    return Status(int(code), str(answer.get("ErrorComment") or ""))


@dataclass(frozen=True, slots=True)
class SubOperations:
    """Counts of the C-STORE sub-operations of a C-GET or C-MOVE (PS3.4 C.4.2.1.6 to C.4.2.1.9)."""

    remaining: int = 0
    completed: int = 0
    failed: int = 0
    warning: int = 0


def read_sub_operations(answer: Dataset) -> SubOperations:
    """Return the counts in a C-GET or C-MOVE response; absent ones are 0."""
    names = ("Remaining", "Completed", "Failed", "Warning")
    return SubOperations(*(int(answer.get(f"NumberOf{name}Suboperations") or 0) for name in names))


def failed_uids(identifier: Dataset | None) -> tuple[str, ...]:
    """Return the Failed SOP Instance UID List (0008,0058) of a final response, empty where it has none."""
    found = None if identifier is None else identifier.get("FailedSOPInstanceUIDList")
    if not found:
        return ()
    return tuple(map(str, found)) if isinstance(found, Collection) and not isinstance(found, str) else (str(found),)
