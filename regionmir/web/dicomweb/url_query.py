"""A QIDO-RS request as keys: the same keys that an Identifier makes, read from a URL (PS3.18 8.3.4, 10.6.1)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

from db.filing import PATIENT_TAGS, SERIES_TAGS, STUDY_TAGS
from db.find import Level, level_of
from regionmir.core.records import Disclosure
from regionmir.query.disclosure import PSEUDONYMOUS
from regionmir.query.keys import MAX_KEY_LENGTH, MAX_UIDS_LENGTH, QUERY_RETRIEVE_LEVEL, Key, Keys, values_of
from regionmir.query.matching import SERVICE_TAGS
from regionmir.web.dicomweb.problems import BadRequest
from regionmir.web.dicomweb.tables import DEFAULT_ATTRIBUTES, DEFAULT_RELATIONAL, IMAGE_TAGS

MAX_PARAMETERS: Final = 200
MAX_OFFSET: Final = 10**9

FUZZY: Final = "The fuzzymatching parameter is not supported. Only literal matching has been performed."
"""Said by `Warning: 299` (PS3.18 8.3.4.2)."""

_TAG = re.compile(r"[0-9A-Fa-f]{8}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,10}", re.ASCII)
_LISTED_VRS: Final = frozenset({"UI", "CS"})
"""Values of these are also separated by commas, which none of them can hold."""

_COMPUTED: Final = ("00080061", "00080062", "00201206", "00201208", "00201209")
_NOT_ANSWERED: Final = frozenset({"00080005", *SERVICE_TAGS})


@dataclass(frozen=True, slots=True)
class UrlQuery:
    """What a search URL asks. `limit` None: as many as the service gives. `warnings`: texts for `Warning: 299`."""

    keys: Keys
    limit: int | None = None
    offset: int = 0
    warnings: tuple[str, ...] = ()
    url: str = ""
    """As it was asked, for the audit trail."""


@dataclass(slots=True)
class _Reading:
    level: Level
    disclosure: Disclosure
    values: dict[str, list[str]] = field(default_factory=dict)
    items: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    wanted: list[str] = field(default_factory=list)
    limit: int | None = None
    offset: int = 0
    warnings: list[str] = field(default_factory=list)


def read_url(
    parameters: Sequence[tuple[str, str]], level: Level, named: Mapping[str, str], disclosure: Disclosure
) -> UrlQuery:
    """Return what the parameters of a search ask. `named`: UIDs in the path by tag. Raises `BadRequest`, `InvalidKey`.

    Searches are relational: `named` may leave out the levels above.
    """
    if len(parameters) > MAX_PARAMETERS:
        raise BadRequest(f"more than {MAX_PARAMETERS} query parameters")
    reading = _Reading(level, disclosure)
    reading.wanted += _defaults(level, named)
    for name, value in parameters:
        _read(reading, name, value)
    keys = {tag: _key(tag, values) for tag, values in reading.values.items()}
    for tag, item in reading.items.items():
        below = {inner: _key(inner, values) for inner, values in item.items()}
        keys[tag] = Key(tag, "SQ", has_items=any(key.asks for key in below.values()), items=(below,))
    for tag in reading.wanted:
        keys.setdefault(tag, Key(tag, _vr(tag)))
    for tag, uid in named.items():
        if tag in keys and keys[tag].asks and keys[tag].values != (uid,):
            raise BadRequest("a UID of the path is asked for again with another value")
        keys[tag] = Key(tag, "UI", (uid,))
    keys[QUERY_RETRIEVE_LEVEL] = Key(QUERY_RETRIEVE_LEVEL, "CS", (level.value,))
    return UrlQuery(Keys(dict(sorted(keys.items()))), reading.limit, reading.offset, tuple(reading.warnings))


def _read(reading: _Reading, name: str, value: str) -> None:
    """Take in one parameter."""
    match name:
        case "includefield":
            reading.wanted += _included(value, reading)
        case "limit":
            reading.limit = _number(name, value)
        case "offset":
            reading.offset = _number(name, value)
        case "fuzzymatching":
            if _truth(name, value):
                reading.warnings.append(FUZZY)
        case "emptyvaluematching" | "multiplevaluematching":
            if _truth(name, value):
                reading.warnings.append(f"The {name} parameter is not supported.")
        case "accept" | "charset":
            return
        case _:
            _match(reading, name, value)


def _match(reading: _Reading, name: str, value: str) -> None:
    """Take in a key: a keyword or tag, or one in the items of a sequence, with a dot between."""
    first, *below = name.split(".")
    tag = _tag(first)
    if tag is None or len(below) > 1:
        raise BadRequest("a query parameter is no attribute: name it by keyword (PatientName) or tag (00100010)")
    if not below:
        reading.values.setdefault(tag, []).append(value)
        return
    inner = _tag(below[0])
    if inner is None or _vr(tag) != "SQ":
        raise BadRequest("a query parameter with a dot is no sequence and attribute of its items")
    reading.items.setdefault(tag, {}).setdefault(inner, []).append(value)


def _key(tag: str, texts: Sequence[str]) -> Key:
    """Return the key of an attribute; given several times, its values are alternatives, as after a backslash."""
    vr = _vr(tag)
    text = "\\".join(texts)
    if len(text) > (MAX_UIDS_LENGTH if vr == "UI" else MAX_KEY_LENGTH):
        raise BadRequest(f"the value of {keyword_for_tag(tag) or tag} is too long")
    if vr in _LISTED_VRS:
        text = text.replace(",", "\\")
    return Key(tag, vr, values_of(text)) if vr != "SQ" else Key(tag, vr)


def _included(value: str, reading: _Reading) -> list[str]:
    found = []
    for name in value.split(","):
        if name.strip() == "all":
            found += _all(reading.level, reading.disclosure)
            continue
        tag = _tag(name.strip().split(".")[0])
        if tag is None:
            raise BadRequest("includefield names no attribute: give keywords, tags, or all")
        if tag not in _NOT_ANSWERED:
            found.append(tag)
    return found


def _all(level: Level, disclosure: Disclosure) -> list[str]:
    """Return all that is known at a level and above it, as far as this caller may see it."""
    tags: Iterable[str] = (*PATIENT_TAGS, *STUDY_TAGS, *SERIES_TAGS, *_COMPUTED, *IMAGE_TAGS)
    if disclosure is not Disclosure.IDENTIFIED:
        tags = PSEUDONYMOUS
    return [tag for tag in tags if level_of(tag).depth <= level.depth and tag not in _NOT_ANSWERED]


def _defaults(level: Level, named: Mapping[str, str]) -> tuple[str, ...]:
    """Return the attributes that are answered unasked: more of them, where the path names less."""
    complete = {Level.STUDY: 0, Level.SERIES: 1, Level.IMAGE: 2}[level]
    return DEFAULT_ATTRIBUTES[level] if len(named) >= complete else DEFAULT_RELATIONAL[level]


def _tag(name: str) -> str | None:
    """Return the tag of a keyword or of eight hexadecimal digits; None for what names no public attribute."""
    if _TAG.fullmatch(name):
        tag = int(name, 16)
        return None if tag >> 16 & 1 or tag >> 16 <= 2 or not tag & 0xFFFF else f"{tag:08X}"
    known = tag_for_keyword(name)
    return None if known is None else f"{known:08X}"


def _vr(tag: str) -> str:
    try:
        return dictionary_VR(int(tag, 16)).split(" or ")[0]
    except KeyError:
        return "UN"


def _number(name: str, value: str) -> int:
    number = int(value) if _NUMBER.fullmatch(value) else -1
    if not 0 <= number <= MAX_OFFSET:
        raise BadRequest(f"{name} must be a number from 0")
    return number


def _truth(name: str, value: str) -> bool:
    if value.lower() not in ("", "true", "false"):
        raise BadRequest(f"{name} must be true or false")
    return value.lower() != "false"  # viewers send it without a value
