"""What an answer may reveal. Identified: everything as received. Pseudonymous: this table, and nothing else.

A form applies to matching and to answering alike, so a key can find out no more than the answer shows.
"""

from typing import Final

from db.find import Field, Form
from regionmir.core.pseudonyms import ISSUER
from regionmir.core.records import Disclosure
from regionmir.core.terms import MODALITIES, SEXES, VIEWS

_TOP_BAND: Final = 90

STANDARD_UIDS: Final = ("1.2.840.10008.",)
"""The root of DICOM's own UIDs: a private SOP class might be made for one site."""

_TABLE: Final = (
    Field("00100010", Form.PSEUDONYM),  # PatientName
    Field("00100020", Form.PSEUDONYM),  # PatientID
    Field("00100021", Form.FIXED, (ISSUER,)),  # IssuerOfPatientID
    Field("0020000D", Form.PSEUDONYM),  # StudyInstanceUID
    Field("0020000E", Form.PSEUDONYM),  # SeriesInstanceUID
    Field("00080018", Form.PSEUDONYM),  # SOPInstanceUID
    Field("00080020", Form.SHIFTED),  # StudyDate
    Field("00101010", Form.BANDED),  # PatientAge
    Field("00100040", Form.KNOWN, SEXES),  # PatientSex
    Field("00080060", Form.KNOWN, MODALITIES),  # Modality
    Field("00080061", Form.KNOWN, MODALITIES),  # ModalitiesInStudy
    Field("00080016", Form.KNOWN, STANDARD_UIDS),  # SOPClassUID
    Field("00080062", Form.KNOWN, STANDARD_UIDS),  # SOPClassesInStudy
    Field("00185101", Form.KNOWN, VIEWS),  # ViewPosition
    Field("00200011", Form.SMALL),  # SeriesNumber
    Field("00200013", Form.SMALL),  # InstanceNumber
    Field("00280010", Form.SMALL),  # Rows
    Field("00280011", Form.SMALL),  # Columns
    Field("00201200"),  # NumberOfPatientRelatedStudies
    Field("00201202"),  # NumberOfPatientRelatedSeries
    Field("00201204"),  # NumberOfPatientRelatedInstances
    Field("00201206"),  # NumberOfStudyRelatedSeries
    Field("00201208"),  # NumberOfStudyRelatedInstances
    Field("00201209"),  # NumberOfSeriesRelatedInstances
)
PSEUDONYMOUS: Final = {field.tag: field for field in _TABLE}
"""All that a pseudonymous answer holds, by tag; every other attribute is dropped."""


def seen(tag: str, disclosure: Disclosure) -> Field | None:
    """Return the form in which a caller sees an attribute, None where it is dropped."""
    return Field(tag) if disclosure is Disclosure.IDENTIFIED else PSEUDONYMOUS.get(tag)


def seen_age(years: float | None) -> str:
    """Return an age as anyone may see it: a band of five years, such as 40-44, all from 90 as one; empty if unknown."""
    if years is None:
        return ""
    first = int(min(years, _TOP_BAND)) // 5 * 5
    return f"{_TOP_BAND}+" if first == _TOP_BAND else f"{first}-{first + 4}"


def seen_view(view: str) -> str:
    """Return a view as anyone may see it: a Defined Term, else empty."""
    return view if view in VIEWS else ""
