"""PS3.15 Table E.1-1 as data: what the Basic Application Level Confidentiality Profile says of each attribute.

The table itself comes from `dicom-anonymizer`, which keeps it up to date with the standard. What it lacks is here: the
two options that we claim, and which attributes the IODs of our copies need.
"""

from collections.abc import Iterable
from enum import Enum
from typing import Final

from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as table
from pydicom.dataset import Dataset

EDITION: Final = "2026c"
"""Of DICOM, that the table is taken from."""


class Action(Enum):
    """What becomes of an attribute of the table in a copy (PS3.15 E.1.1)."""

    REMOVE = "X, also as X/Z, X/D, X/Z/D; D and Z where no IOD of our copies needs the attribute"
    EMPTY = "Z: a Type 2 attribute of CR, DX or SC"
    REPLACE_UIDS = "U, also of the items of a sequence: X/Z/U*"


def _numbers(tags: Iterable[tuple[int, ...]]) -> frozenset[int]:
    return frozenset(tag[0] << 16 | tag[1] for tag in tags if len(tag) == 2)


_ALL: Final = _numbers(table.ALL_TAGS)
_WITH_UIDS: Final = _numbers(table.U_TAGS) | _numbers(table.X_Z_U_STAR_TAGS)

EMPTIED: Final = frozenset(
    {
        0x00080030,  # StudyTime
        0x00080033,  # ContentTime
        0x00080050,  # AccessionNumber
        0x00080090,  # ReferringPhysicianName
        0x00100030,  # PatientBirthDate
        0x00180010,  # ContrastBolusAgent
        0x00200010,  # StudyID
        0x00400555,  # AcquisitionContextSequence
    }
)
"""Of Type 2 in the modules of CR, DX and SC (PS3.3 A.2, A.8.1, A.26): empty where the original has them."""

METHODS: Final = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    ("113108", "Retain Patient Characteristics Option"),
)
"""CID 7050 De-identification Method (PS3.16), scheme DCM."""


def all_tags() -> frozenset[int]:
    """Return the attributes of the table but for its repeating groups (curves, overlays) and private ones."""
    return _ALL


def action_of(tag: int) -> Action | None:
    """Return what the profile does to an attribute, None where the table does not list it."""
    if tag in EMPTIED:
        return Action.EMPTY
    if tag in _WITH_UIDS:
        return Action.REPLACE_UIDS
    return Action.REMOVE if tag in _ALL or _is_repeating(tag >> 16) else None


def _is_repeating(group: int) -> bool:
    """Curves (50xx), overlays (60xx): the whole of them, not only data and comments."""
    return 0x5000 <= group <= 0x50FF or 0x6000 <= group <= 0x60FF


def mark(copy: Dataset) -> None:
    """Say in the copy that it is one, and by what method it was made (PS3.15 E.1.1, PS3.3 C.7.1.1, C.12.1.1)."""
    copy.PatientIdentityRemoved = "YES"
    copy.DeidentificationMethod = f"PS3.15 {EDITION} Annex E by RegionMIR"
    copy.DeidentificationMethodCodeSequence = [_code(value, meaning) for value, meaning in METHODS]
    copy.LongitudinalTemporalInformationModified = "MODIFIED"


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item
