"""Reading what files an instance from its data set."""

import re
from typing import Any, Final

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from regionmir.core import plain_errors  # noqa: F401 - for what it does
from regionmir.core.errors import InvalidHeader, InvalidIdentifier
from regionmir.core.identifiers import Uid, parse_uid
from regionmir.core.records import InstanceHeader

MAX_ATTRIBUTE_BYTES = 4096
"""Longer text values are not kept in the header: they are not matched and can be retrieved with the instance."""

_MAX_SEEN_BYTES = 64
_MOST_SEEN = 4096
_SEEN: dict[tuple[Any, ...], dict[str, Any] | None] = {}
"""Short elements as JSON, by all that decides on it."""

_ALONE = frozenset(
    {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "SH", "TM", "UI", "US", "SS", "UL", "SL", "FD", "FL"}
)
_BY_CHARSET = frozenset({"LO", "SH"})
"""VRs of elements that are remembered, and of those whose text depends on the character set (PS3.5 6.1.2.3)."""

_PLAIN: Final = {
    "UI": re.compile(rb"[0-9.]{1,64}\0?"),
    "LO": re.compile(rb"[0-9A-Za-z._^-]{1,64} ?"),
    "SH": re.compile(rb"[0-9A-Za-z._^-]{1,64} ?"),
}
"""Values that are one text, the same in every character set."""

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
        plain = _plain(element)
        value = dataset.get(keyword) if plain is None else plain
    except Exception:  # pydicom raises many kinds while it converts one broken value; the value is then unusable
        return ""
    return "" if value is None else str(value).strip(" \0").replace("\0", "")


def _plain(element: object) -> str | None:
    """Return the text of an element that pydicom has not converted yet and need not; None for any other."""
    if not isinstance(element, RawDataElement) or element.VR not in _PLAIN or not element.value:
        return None
    return element.value.decode("ascii").rstrip(" \0") if _PLAIN[element.VR].fullmatch(element.value) else None


def _attributes(dataset: Dataset) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for tag in sorted(dataset.keys(), key=int):
        group = tag >> 16
        if group % 2 or group in (0x0002, 0x7FE0) or 0x6000 <= group <= 0x60FF:
            continue
        try:
            as_json = _seen_before(dataset, tag)
        except Exception:  # one broken value (wrong VR, bad charset) must not refuse the instance
            continue
        if as_json is not None:
            found[f"{tag:08X}"] = as_json
    return found


def _seen_before(dataset: Dataset, tag: BaseTag) -> dict[str, Any] | None:
    """Return an element as JSON, as `_as_json` does; most values of a film are those of the film before.

    Only where the element alone says what it is: with a VR, without items. What is returned is not to be changed.
    """
    raw = dataset.get_item(tag)
    plain = _plain(raw)
    if plain is not None:
        return {"vr": raw.VR, "Value": [plain]}
    if not isinstance(raw, RawDataElement) or raw.VR not in _ALONE or len(raw.value or b"") > _MAX_SEEN_BYTES:
        return _as_json(dataset, tag)
    charset = str(dataset.original_character_set) if raw.VR in _BY_CHARSET else ""
    key = int(tag), raw.VR, raw.value, raw.is_little_endian, charset
    if key not in _SEEN:
        if len(_SEEN) >= _MOST_SEEN:
            _SEEN.clear()
        _SEEN[key] = _as_json(dataset, tag)
    return _SEEN[key]


def _as_json(dataset: Dataset, tag: BaseTag) -> dict[str, Any] | None:
    """Return an element in the DICOM JSON model, None where it is not kept in the header."""
    raw = dataset.get_item(tag)
    element = dataset[tag]
    if isinstance(raw, RawDataElement):
        dataset[tag] = raw  # converted, a sequence of many items takes a hundred times its bytes
    if element.VR in _BULK_VRS:
        return None
    as_json = element.to_json_dict(None, 0)
    return _without_nul(as_json) if len(str(as_json)) <= MAX_ATTRIBUTE_BYTES else None


def _without_nul(value: Any) -> Any:
    """PostgreSQL's jsonb holds no NUL character."""
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, dict):
        return {k: _without_nul(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_nul(v) for v in value]
    return value
