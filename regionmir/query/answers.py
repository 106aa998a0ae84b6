"""From rows to data sets: what one match looks like to the client (PS3.4 C.4.1.1.3.2)."""

import datetime as dt
from collections.abc import Sequence
from typing import Any, Final

from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import format_number_as_ds

from db.find import FindRow
from regionmir.core.charset import set_charset
from regionmir.core.identifiers import Uid
from regionmir.query.anatomic import region_items
from regionmir.query.disclosure import seen_age, seen_view
from regionmir.query.keys import ANATOMIC_REGION
from regionmir.query.matching import STUDY_INSTANCE_UID, FindRequest
from regionmir.query.search import Answer, Hit

LO_LENGTH: Final = 64

_PN_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_DS_LENGTH = 16


def answer(request: FindRequest, row: FindRow, *, retrieve_ae: str, extra: dict[str, str] | None = None) -> Dataset:
    """Return the Identifier of one match; an attribute that is not known here, or not disclosed, is empty.

    `extra` gives values by keyword that take the place of the stored ones.
    """
    found = Dataset()
    vrs = {key.tag: key.vr for key in request.wanted}
    for tag in request.answered_tags():
        value = row.values.get(tag)
        if tag == ANATOMIC_REGION and isinstance(value, list):
            value = region_items(value)
        found.add(_element(tag, vrs.get(tag) or dictionary_VR(int(tag, 16)), value))
    found.QueryRetrieveLevel = request.level.value
    found.RetrieveAETitle = retrieve_ae
    found.InstanceAvailability = row.availability.value
    for keyword, text in (extra or {}).items():
        setattr(found, keyword, text)
    set_charset(found, request.charset)
    return found


def hit_extra(found: Answer, hit: Hit) -> dict[str, str]:
    """Return what a hit says of itself: `SIM <code> <region> #001 0.97 <view>`, and how much was searched.

    The coverage stands in Study Comments (0032,4000), sent unasked with every hit, and the age in a band of five years.
    """
    words = ("SIM", found.code, found.label, f"#{hit.rank:03d}", f"{hit.similarity:.2f}", seen_view(hit.view))
    age = seen_age(hit.age_years)
    comments = f"{found.coverage}, age {age}" if age else found.coverage
    return {"StudyDescription": " ".join(words).strip(), "StudyComments": comments}


def explanation(request: FindRequest, code: str, message: str, *, uid: Uid, retrieve_ae: str) -> Dataset:
    """Return the row that says why a query failed; `uid` belongs to no study. The whole message is Study Comments."""
    nothing = FindRow(0, None, {STUDY_INSTANCE_UID: uid})
    text = f"SIM ! {code} {message}"[:LO_LENGTH].rstrip()
    return answer(request, nothing, retrieve_ae=retrieve_ae, extra={"StudyDescription": text, "StudyComments": message})


def _element(tag: str, vr: str, value: Any) -> DataElement:
    """Return the element of a value from the database: a DICOM JSON element, a text, number, date or list."""
    if isinstance(value, dict):
        return _from_json(tag, value)
    if value is None:
        value = [] if vr == "SQ" else None
    elif isinstance(value, dt.date):
        value = f"{value:%Y%m%d}"
    elif isinstance(value, int) and vr not in ("US", "UL", "SS", "SL"):
        value = str(value)
    return _made(tag, vr, value)


def _from_json(tag: str, element: dict[str, Any]) -> DataElement:
    vr = str(element.get("vr", "UN"))
    values = [_value(vr, value) for value in element.get("Value", [])]
    if vr == "SQ":
        return _made(tag, vr, values)
    return _made(tag, vr, values[0] if len(values) == 1 else values or None)


def _value(vr: str, value: Any) -> Any:
    if vr == "SQ":
        return _item(value or {})
    if vr == "PN":
        groups = [str((value or {}).get(group) or "") for group in _PN_GROUPS]
        return "=".join(groups).rstrip("=")
    if value is None:
        return ""
    if vr == "AT":
        return int(value, 16)
    if vr == "DS":
        text = str(value)
        return text if len(text) <= _DS_LENGTH else format_number_as_ds(float(value))
    return str(value) if vr == "IS" else value


def _item(elements: dict[str, Any]) -> Dataset:
    item = Dataset()
    for tag, element in elements.items():
        item.add(_from_json(tag, element))
    return item


def _made(tag: str, vr: str, value: Any) -> DataElement:
    """Return the element without a check of its value: what was stored is what is answered."""
    if isinstance(value, Sequence) and not isinstance(value, str) and vr != "SQ":
        value = list(value)
    return DataElement(int(tag, 16), vr, value, validation_mode=IGNORE)
