"""Anatomic Region Sequence (0008,2218) at level IMAGE: the regions that the active model found, as codes (way E)."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from db.find import Condition, Field, Form, HasRegion
from regionmir.core.anatomy import SIDE_CODES, SIDES, anatomies_by_code, anatomy_by_key
from regionmir.query.keys import ANATOMIC_REGION, InvalidKey, Key

REGIONS: Final = Field(ANATOMIC_REGION, Form.REGIONS)
_MODIFIER: Final = "00082220"
_VALUE: Final = "00080100"
_SCHEME: Final = "00080102"
_MEANING: Final = "00080104"


def region_condition(key: Key) -> Condition:
    """Return the condition that an Anatomic Region Sequence with one item makes: its code, and its laterality if it
    has a modifier. A code that is none of ours matches nothing. Raises `InvalidKey`."""
    if len(key.items) != 1:
        raise InvalidKey("AnatomicRegionSequence must have one item")  # PS3.4 C.2.2.2.6
    (item,) = key.items
    value, scheme = _text(item, _VALUE), _text(item, _SCHEME)
    if not value:
        raise InvalidKey("AnatomicRegionSequence needs a CodeValue")
    found = anatomies_by_code(value, scheme, _laterality(item))
    return Condition(REGIONS, (HasRegion(tuple(anatomy.key for anatomy in found)),))


def region_items(anatomy_pks: Iterable[int]) -> dict[str, Any]:
    """Return the sequence with an item for each anatomy, in the DICOM JSON model (PS3.18 F.2)."""
    return {"vr": "SQ", "Value": [_item(anatomy_pk) for anatomy_pk in anatomy_pks]}


def _item(anatomy_pk: int) -> dict[str, Any]:
    anatomy = anatomy_by_key(anatomy_pk)
    item = _code(anatomy.code_value, anatomy.coding_scheme, anatomy.code_meaning)
    if anatomy.laterality:
        item[_MODIFIER] = {"vr": "SQ", "Value": [_code(*SIDE_CODES[anatomy.laterality])]}
    return item


def _code(value: str, scheme: str, meaning: str) -> dict[str, Any]:
    texts = {_VALUE: ("SH", value), _SCHEME: ("SH", scheme), _MEANING: ("LO", meaning)}
    return {tag: {"vr": vr, "Value": [text]} for tag, (vr, text) in texts.items()}


def _laterality(item: Mapping[str, Key]) -> str:
    modifiers = item[_MODIFIER].items if _MODIFIER in item else ()
    if not modifiers or not _text(modifiers[0], _VALUE):
        return ""
    side = SIDES.get((_text(modifiers[0], _SCHEME), _text(modifiers[0], _VALUE)))
    if side is None or len(modifiers) > 1:
        raise InvalidKey("AnatomicRegionModifierSequence must be one code, right or left")
    return side


def _text(item: Mapping[str, Key], tag: str) -> str:
    return "".join(item[tag].values) if tag in item else ""
