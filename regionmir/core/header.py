"""Reading what files an instance from its data set."""

from typing import Any

from pydicom.dataset import Dataset

from regionmir.core import plain_errors  # noqa: F401 - for what it does
from regionmir.core.errors import InvalidHeader, InvalidIdentifier
from regionmir.core.identifiers import Uid, parse_uid
from regionmir.core.records import InstanceHeader

MAX_ATTRIBUTE_BYTES = 4096
"""Longer text values are not kept in the header: they are not matched and can be retrieved with the instance."""

_BULK_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN", "UC", "UT"})


def read_header(dataset: Dataset, transfer_syntax_uid: Uid) -> InstanceHeader:
    """Return the header of `dataset` (pixel data may be absent).

    Raises `InvalidHeader` where one of the four unique identifiers is missing or malformed.
    """
    return InstanceHeader(
        sop_instance_uid=_uid(dataset, "SOPInstanceUID"),
        sop_class_uid=_uid(dataset, "SOPClassUID"),
        series_instance_uid=_uid(dataset, "SeriesInstanceUID"),
        study_instance_uid=_uid(dataset, "StudyInstanceUID"),
        transfer_syntax_uid=transfer_syntax_uid,
        patient_id=_text(dataset, "PatientID"),
        issuer_of_patient_id=_text(dataset, "IssuerOfPatientID"),
        attributes=_attributes(dataset),
    )


def _uid(dataset: Dataset, keyword: str) -> Uid:
    value = _text(dataset, keyword)
    if not value:
        raise InvalidHeader(f"{keyword} is missing")
    try:
        return parse_uid(value)
    except InvalidIdentifier:
        raise InvalidHeader(f"{keyword} is no UID (digits, dots, at most 64)") from None


def _text(dataset: Dataset, keyword: str) -> str:
    try:
        element = dataset.get_item(keyword)
        if element is None or element.VR == "SQ":  # items in the place of a text: nothing to file by
            return ""
        value = dataset.get(keyword)
    except Exception:  # pydicom raises many kinds while it converts one broken value; the value is then unusable
        return ""
    return "" if value is None else str(value).strip(" \0").replace("\0", "")


def _attributes(dataset: Dataset) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for tag in sorted(dataset.keys()):
        if tag.is_private or tag.group in (0x0002, 0x7FE0) or 0x6000 <= tag.group <= 0x60FF:
            continue
        try:
            element = dataset[tag]
            if element.VR in _BULK_VRS:
                continue
            as_json = element.to_json_dict(None, 0)
            if len(str(as_json)) <= MAX_ATTRIBUTE_BYTES:
                found[f"{tag:08X}"] = _without_nul(as_json)
        except Exception:  # one broken value (wrong VR, bad charset) must not refuse the instance
            continue
    return found


def _without_nul(value: Any) -> Any:
    """PostgreSQL's jsonb holds no NUL character."""
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, dict):
        return {k: _without_nul(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_nul(v) for v in value]
    return value
