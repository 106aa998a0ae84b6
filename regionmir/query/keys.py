"""The keys of a query: what an Identifier (or a URL) asks for, decoded, before any of it is interpreted."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

from regionmir.core.charset import TEXT_VRS, decode, known_terms
from regionmir.core.errors import InvalidIdentifier, RegionMirError

SPECIFIC_CHARACTER_SET: Final = "00080005"
QUERY_RETRIEVE_LEVEL: Final = "00080052"
MAX_UIDS_LENGTH: Final = 262_144
MAX_KEY_LENGTH: Final = 1024
"""Characters of one key, a list of UIDs or another. The limits of VRs are not applied: clients exceed them."""

ANATOMIC_REGION: Final = "00082218"
_MATCHED_SEQUENCES: Final = frozenset({ANATOMIC_REGION, "00082220"})
"""Anatomic Region Sequence and its Modifier Sequence."""

BLOCK_GROUP: Final = 0x0099
BLOCK_CREATOR: Final = "REGIONMIR QUERY"
"""The private block of structured queries (`regionmir.query.block`)."""

_NUMBER_BYTES = {"US": 2, "UL": 4, "SS": 2, "SL": 4}


class InvalidKey(InvalidIdentifier):
    """A key that no value could match, or that does not belong into this Identifier; the message names it."""


@dataclass(frozen=True, slots=True)
class Key:
    """One requested attribute. No values: universal matching (PS3.4 C.2.2.2.3)."""

    tag: str
    """Eight hexadecimal digits, as in the DICOM JSON model."""
    vr: str
    values: tuple[str, ...] = ()
    has_items: bool = False
    """A sequence with an item that holds a value."""
    items: "tuple[Mapping[str, Key], ...]" = ()
    """The keys of each item by tag, for sequences that are matched."""

    @property
    def keyword(self) -> str:
        return keyword_for_tag(self.tag) or f"({self.tag[:4]},{self.tag[4:]})"

    @property
    def asks(self) -> bool:
        """True if the key restricts what matches."""
        return bool(self.values) or self.has_items


@dataclass(frozen=True, slots=True)
class Keys:
    """All keys of one query by tag, in order, and the character set they came in."""

    by_tag: Mapping[str, Key] = field(default_factory=dict)
    charset: tuple[str, ...] = ()
    block: Mapping[int, str] = field(default_factory=dict)
    """Elements of our private block that have a value, by the last byte of their tag."""

    def text(self, tag: str) -> str:
        """Return the single value of a key, values joined by a backslash, "" where it asks nothing."""
        key = self.by_tag.get(tag)
        return "\\".join(key.values) if key else ""

    def without(self, tag: str) -> "Keys":
        """Return these keys with the one at `tag` universal."""
        key = self.by_tag.get(tag)
        if key is None:
            return self
        return replace(self, by_tag={**self.by_tag, tag: Key(tag, key.vr)})


def read_keys(identifier: Dataset) -> Keys:
    """Return the keys of an Identifier. Raises `InvalidKey` or `UndecodableText`.

    Private keys are left out but those of our own block."""
    charset = known_terms(_plain(identifier, SPECIFIC_CHARACTER_SET).split("\\"))
    found = {}
    for tag in sorted(identifier.keys()):
        if tag.group > 0x0002 and tag.element != 0 and not tag.is_private and f"{tag:08X}" != SPECIFIC_CHARACTER_SET:
            key = _key(identifier, tag, charset)
            found[key.tag] = key
    return Keys(found, charset, _block(identifier, charset))


def values_of(text: str) -> tuple[str, ...]:
    """Return the values of a key's text: parts between backslashes, without padding; none where it matches all.

    Only `*` in any number matches all, as does the empty value (PS3.4 C.2.2.2.3, C.2.2.2.4).
    """
    values = tuple(part.strip(" \0\t\r\n") for part in text.split("\\"))
    if any("\0" in value for value in values):
        raise InvalidKey("a key has a NUL character in it")
    if all(value.strip("*") == "" for value in values):
        return ()
    return tuple(value for value in values if value)


def _key(identifier: Dataset, tag: BaseTag, charset: tuple[str, ...]) -> Key:
    name = f"{tag:08X}"
    element = identifier.get_item(tag)
    vr = _vr(tag, str(element.VR or "") if element is not None else "")
    if vr == "SQ":
        return _sequence(identifier, tag, name, charset)
    if isinstance(element, RawDataElement):
        text = _text(element, vr, charset)
    else:
        value = identifier[tag].value
        parts = value if isinstance(value, list | tuple) or identifier[tag].VM > 1 else [value]
        text = "\\".join("" if part is None else str(part) for part in parts)
    key = Key(name, vr, values_of(text))
    if len(text) > (MAX_UIDS_LENGTH if vr == "UI" else MAX_KEY_LENGTH):
        raise InvalidKey(f"{key.keyword} is too long")
    return key


def _block(identifier: Dataset, charset: tuple[str, ...]) -> dict[int, str]:
    """Return the values of our private block (PS3.5 7.8.1), whatever VR they came with."""
    ours = [tag for tag in identifier.keys() if tag.group == BLOCK_GROUP]  # noqa: SIM118 - elements are what it yields
    reserved = {
        tag.element
        for tag in ours
        if 0x10 <= tag.element <= 0xFF and _plain(identifier, f"{tag:08X}").strip(" \0") == BLOCK_CREATOR
    }
    values = {
        tag.element & 0xFF: "\\".join(_key(identifier, tag, charset).values)
        for tag in ours
        if tag.element >> 8 in reserved
    }
    return {element: text for element, text in values.items() if text}


def _vr(tag: BaseTag, sent: str) -> str:
    """Return the VR of the dictionary: what a client says in its place does not change what the attribute is."""
    try:
        return dictionary_VR(tag).split(" or ")[0]
    except KeyError:
        return sent or "UN"


def _text(element: RawDataElement, vr: str, charset: tuple[str, ...]) -> str:
    raw = element.value or b""
    if vr in _NUMBER_BYTES:
        size = _NUMBER_BYTES[vr]
        order = "little" if element.is_little_endian else "big"
        parts = [raw[i : i + size] for i in range(0, len(raw) - size + 1, size)]
        return "\\".join(str(int.from_bytes(part, order, signed=vr[0] == "S")) for part in parts)  # type: ignore[arg-type]
    return decode(raw, charset if vr in TEXT_VRS else ())


def _plain(identifier: Dataset, tag: str) -> str:
    element = identifier.get_item(int(tag, 16))
    if element is None or not element.value:
        return ""
    if isinstance(element, RawDataElement):
        return decode(element.value, ())
    value = element.value
    return value if isinstance(value, str) else "\\".join(value)


def _sequence(identifier: Dataset, tag: BaseTag, name: str, charset: tuple[str, ...]) -> Key:
    try:
        items = identifier[tag].value
        has_items = isinstance(items, Sequence) and any(_holds_value(item) for item in items)
        matched = items if has_items and name in _MATCHED_SEQUENCES else ()
        found = ({key.tag: key for t in item.keys() for key in (_key(item, t, charset),)} for item in matched)  # noqa: SIM118
        return Key(name, "SQ", has_items=has_items, items=tuple(found))
    except RegionMirError:
        raise
    except Exception:  # pydicom raises many kinds on a broken sequence
        raise InvalidKey(f"{keyword_for_tag(tag)} cannot be decoded") from None


def _holds_value(item: Dataset) -> bool:
    return any(element.VR != "SQ" and element.value not in (None, "", b"", []) for element in item.iterall())
