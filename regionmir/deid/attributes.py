"""The attributes of a copy, made anew from those of an instance: what no rule keeps is left out.

Table E.1-1 of PS3.15 names what must go. This goes further, as a copy is of a radiograph and no more is needed: of the
attributes that the table does not name, only numbers, codes and dates stay, and text of a few. Every value is parsed
and written again, so no byte of the original's encoding remains.
"""

import re
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sr.codedict import codes
from pydicom.tag import BaseTag

from regionmir.core.pseudonyms import ISSUER
from regionmir.core.terms import BODY_PARTS, MODALITIES, SEXES, VIEWS
from regionmir.deid.identity import Substitution
from regionmir.deid.profile import Action, action_of, mark

_KNOWN: Final = {
    0x00080060: frozenset(MODALITIES),
    0x00100040: frozenset(SEXES),
    0x00102203: frozenset({"ALTERED", "UNALTERED"}),  # PatientSexNeutered
    0x001021A0: frozenset({"YES", "NO", "UNKNOWN"}),  # SmokingStatus
    0x00180015: BODY_PARTS,
    0x00185101: frozenset(VIEWS),
}
"""Codes that stay where they are Defined Terms, else become empty."""

_CHARACTERISTICS: Final = frozenset({0x00100040, 0x00101020, 0x00101030, 0x00102203, 0x001021A0, 0x001021C0})
"""Retain Patient Characteristics Option: sex, size, weight, neutered, smoking and pregnancy status. The age is banded,
and what is free text (ethnic group, allergies, special needs, state) goes all the same."""

_PERSONAL_GROUPS: Final = frozenset({0x0010, 0x0012, 0x0032, 0x0038, 0x4008})
"""Patient, trial, request, visit, interpretation: nothing else of them stays but dates."""

_PLAUSIBLE: Final = {0x00101020: (0.1, 3.0), 0x00101030: (0.1, 600.0)}
"""Size in metres and weight in kilograms: another number in their place might be a patient's."""

_SMALL: Final = frozenset({0x00200011, 0x00200012, 0x00200013})
"""Series, acquisition and instance number: empty from 100,000 on, where they might be a date or a patient's number."""

_TEXT: Final = {
    0x00080070: re.compile(r".{0,64}"),  # Manufacturer
    0x00081090: re.compile(r".{0,64}"),  # ManufacturerModelName
    0x00181020: re.compile(r".{0,64}"),  # SoftwareVersions
    0x00281054: re.compile(r"[A-Z0-9_ ]{0,16}"),  # RescaleType
    0x00283004: re.compile(r"[A-Z0-9_ ]{0,16}"),  # ModalityLUTType
}
"""Text that stays if it is of this form."""

_BULK: Final = frozenset({0x00281201, 0x00281202, 0x00281203, 0x00283006})
"""Palette and lookup table data."""

_INTEGERS = frozenset({"US", "UL", "SS", "SL", "UV", "SV", "AT"})
_FLOATS = frozenset({"FL", "FD"})
_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,12}", re.ASCII)
_CODE_STRING = re.compile(r"[A-Z0-9_ ]{0,16}")
_CODE_VALUE = re.compile(r"[A-Za-z0-9.\-\[\]{}/%_^*']{1,16}", re.ASCII)

_SCHEMES: Final = {"SCT": "SCT", "DCM": "DCM", "UCUM": "UCUM", "SRT": "SRT", "SNM3": "SRT", "99SDM": "SRT"}
"""Coding schemes that anyone can look up (PS3.16 8), the older names of one beside it."""

_SMALL_NUMBERS = 100_000


def deidentified(dataset: Dataset, substitution: Substitution) -> Dataset:
    """Return the attributes of the copy, all but Pixel Data: what stays, the pseudonyms, and the mark of a copy."""
    copy = _kept(dataset, substitution)
    identity = substitution.identity
    copy.SpecificCharacterSet = "ISO_IR 192"
    copy.PatientName = copy.PatientID = identity.patient_id
    copy.IssuerOfPatientID = ISSUER
    copy.StudyInstanceUID = identity.study_instance_uid
    copy.SeriesInstanceUID = identity.series_instance_uid
    copy.SOPInstanceUID = identity.sop_instance_uid
    if identity.age:
        copy.PatientAge = identity.age
    mark(copy)
    return copy


def _kept(dataset: Dataset, substitution: Substitution) -> Dataset:
    copy = Dataset()
    for tag in sorted(dataset.keys()):
        vr = _vr(tag)
        element = _read(dataset, tag) if vr else None
        if element is None or element.VR not in vr.split(" or "):
            continue
        value = _value(element, substitution)
        if value is not None:
            copy.add(DataElement(tag, element.VR, value))
    return copy


def _vr(tag: BaseTag) -> str:
    """Return the VR (or VRs) of an attribute that DICOM defines, "" for any other."""
    if tag.is_private or tag.element == 0:
        return ""
    try:
        return dictionary_VR(tag)
    except KeyError:
        return ""


def _read(dataset: Dataset, tag: BaseTag) -> DataElement | None:
    try:
        return dataset[tag]
    except Exception:  # pydicom raises many kinds while it converts a broken value
        return None


def _value(element: DataElement, substitution: Substitution) -> Any:
    """Return the value that the copy has for an attribute, None where it has none."""
    tag, vr = int(element.tag), str(element.VR)
    action = action_of(tag)
    if action is Action.EMPTY:
        return [] if vr == "SQ" else ""
    if tag in _CHARACTERISTICS:
        return _plain(tag, vr, element.value)
    if vr in ("DA", "DT"):
        return _each(element.value, substitution.date)
    if action is Action.REMOVE or tag >> 16 in _PERSONAL_GROUPS:
        return None
    if vr == "UI":
        keyword = keyword_for_tag(tag)
        return _each(element.value, lambda text: substitution.uid(keyword, text))
    if vr == "SQ":
        return _items(element.value, substitution)
    return _plain(tag, vr, element.value)


def _items(items: Any, substitution: Substitution) -> list[Dataset] | None:
    """Return what is left of the items, None where nothing is."""
    kept = [_code(item) if "CodingSchemeDesignator" in item else _kept(item, substitution) for item in items]
    return [item for item in kept if item] or None


def _code(item: Dataset) -> Dataset:
    """Return the code of a coding scheme that all know, with the meaning that the scheme gives it; else nothing."""
    copy = Dataset()
    scheme, value = _text(item, "CodingSchemeDesignator"), _text(item, "CodeValue")
    if scheme in _SCHEMES and _CODE_VALUE.fullmatch(value):
        copy.CodeValue, copy.CodingSchemeDesignator = value, scheme
        copy.CodeMeaning = _meanings().get((_SCHEMES[scheme], value), value)[:64]
    return copy


def _text(item: Dataset, keyword: str) -> str:
    try:
        return str(item.get(keyword) or "").strip(" \0")
    except Exception:  # pydicom raises many kinds while it converts a broken value
        return ""


@lru_cache(maxsize=1)
def _meanings() -> dict[tuple[str, str], str]:
    """Return the meanings of codes by scheme and value, as pydicom has them from PS3.16."""
    found = {}
    for scheme in ("SCT", "DCM", "UCUM"):
        named = getattr(codes, scheme)
        for keyword in named.dir():
            code = getattr(named, keyword)
            found[scheme, code.value] = code.meaning
    return found


def _plain(tag: int, vr: str, value: Any) -> Any:
    """Return a value that tells nothing of a person: a number, a code, text or tables that are let through."""
    if vr in _INTEGERS:
        return _each(value, int) if tag not in _BULK or not isinstance(value, bytes) else value
    if vr in _FLOATS:
        return _each(value, float)
    if vr in ("IS", "DS"):
        return _each(value, lambda text: _number(tag, text, _INTEGER if vr == "IS" else _DECIMAL))
    if vr == "CS":
        return _each(value, lambda text: _term(tag, text))
    if tag in _TEXT:
        return _each(value, lambda text: text if _TEXT[tag].fullmatch(text) else "")
    return value if tag in _BULK else None


def _number(tag: int, text: str, form: re.Pattern[str]) -> str:
    if not form.fullmatch(text) or len(text) > 16:
        return ""
    least, most = _PLAUSIBLE.get(tag, (-sys.float_info.max, sys.float_info.max))
    if not least <= float(text) <= most or (tag in _SMALL and not 0 <= int(text) < _SMALL_NUMBERS):
        return ""
    return text


def _term(tag: int, text: str) -> str:
    term = text.upper()
    known = _KNOWN.get(tag)
    return term if _CODE_STRING.fullmatch(term) and (known is None or term in known) else ""


def _each(value: Any, made: Callable[[Any], Any]) -> Any:
    """Return the value or values as `made` gives them: texts for texts, numbers for numbers."""
    values = list(value) if isinstance(value, MultiValue | list | tuple) else [value]
    texts = made not in (int, float)
    kept = [made(str(one).strip(" \0") if texts else one) for one in values if one is not None and one != ""]
    return kept[0] if len(kept) == 1 else kept or ""
