"""Asking a running node by C-FIND and getting data sets back."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
)

PATIENT_ROOT = PatientRootQueryRetrieveInformationModelFind
STUDY_ROOT = StudyRootQueryRetrieveInformationModelFind


@dataclass
class Found:
    """What came back: pending answers with their statuses, and the final status."""

    rows: list[Dataset] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)
    status: int = -1
    comment: str = ""

    def values(self, keyword: str) -> list[str]:
        return [str(row.get(keyword, "")) for row in self.rows]


@contextmanager
def association(
    port: int, *, calling: str = "VIEWER", called: str = "REGIONMIR", **options: Any
) -> Iterator[Association]:
    """Yield an open association with both Find models."""
    ae = AE(calling)
    ae.add_requested_context(PATIENT_ROOT)
    ae.add_requested_context(STUDY_ROOT)
    assoc = ae.associate("127.0.0.1", port, ae_title=called, **options)
    assert assoc.is_established, "association refused"
    try:
        yield assoc
    finally:
        assoc.release()


def ask(assoc: Association, keys: Dataset, model: Any = STUDY_ROOT) -> Found:
    """Return all that one C-FIND brings."""
    found = Found()
    for status, row in assoc.send_c_find(keys, model):
        if status.Status in (0xFF00, 0xFF01):
            assert row is not None
            found.rows.append(row)
            found.pending.append(status.Status)
        else:
            found.status, found.comment = status.Status, status.get("ErrorComment", "")
    return found


def keys(level: str, **values: Any) -> Dataset:
    """Return an Identifier: keys by keyword; None or "" asks for the attribute."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword, value in values.items():
        setattr(identifier, keyword, value)
    return identifier


def find(
    port: int, level: str, model: Any = STUDY_ROOT, *, calling: str = "VIEWER", called: str = "REGIONMIR", **values: Any
) -> Found:
    """Ask once over an association of its own."""
    with association(port, calling=calling, called=called) as assoc:
        return ask(assoc, keys(level, **values), model)
