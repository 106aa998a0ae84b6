"""Filters of a similarity query: standard keys that its hits must pass, in the form in which the caller sees them."""

import re
from typing import Final

from db.find import Ages, Condition
from regionmir.core.records import Disclosure
from regionmir.query.disclosure import seen
from regionmir.query.keys import InvalidKey, Keys
from regionmir.query.matching import MODALITIES_IN_STUDY, MODALITY, STUDY_DATE, Root, read_request

PATIENT_SEX: Final = "00100040"
PATIENT_AGE: Final = "00101010"
FILTER_TAGS: Final = frozenset({STUDY_DATE, MODALITY, MODALITIES_IN_STUDY, PATIENT_SEX, PATIENT_AGE})
"""Keys that may come with a search expression and narrow its hits. All of them are disclosed to everyone."""

_QUERY_RETRIEVE_LEVEL: Final = "00080052"
_AGE = r"(\d{1,3})([YMWD]?)"
_AGES = re.compile(rf"(?:{_AGE})?(-)?(?:{_AGE})?", re.ASCII)
_UNITS_IN_YEAR = {"Y": 1, "": 1, "M": 12, "W": 52, "D": 365}
_OLDEST = 999


def narrowing(keys: Keys, disclosure: Disclosure) -> tuple[Condition, ...]:
    """Return the conditions that the filters among `keys` make. Raises `InvalidKey`."""
    asked = Keys(
        {tag: key for tag, key in keys.by_tag.items() if tag in FILTER_TAGS - {PATIENT_AGE} or _is_level(tag)},
        keys.charset,
    )
    found = read_request(asked, Root.STUDY, disclosure).conditions
    age = keys.text(PATIENT_AGE)
    return (*found, _ages(age, disclosure)) if age else found


def without_filters(keys: Keys) -> Keys:
    """Return the keys with the filters universal: they are answered, and matched by the search."""
    for tag in FILTER_TAGS:
        keys = keys.without(tag)
    return keys


def _is_level(tag: str) -> bool:
    return tag == _QUERY_RETRIEVE_LEVEL


def _ages(text: str, disclosure: Disclosure) -> Condition:
    """Return the condition of an age or a range of ages: `045Y`, `040Y-060Y`, `-018Y`."""
    match = _AGES.fullmatch(text.replace(" ", "").upper())
    field = seen(PATIENT_AGE, disclosure)
    if match is None or not (match[1] or match[4]) or field is None:
        raise InvalidKey("PatientAge is no age as 045Y and no range of ages as 040Y-060Y")
    first = _years(match[1], match[2]) if match[1] else 0
    last = _years(match[4], match[5]) if match[4] else _OLDEST if match[3] else first
    return Condition(field, (Ages(first, last),))


def _years(number: str, unit: str) -> int:
    return int(number) // _UNITS_IN_YEAR[unit]
