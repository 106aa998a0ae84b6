"""From keys to what is matched: the hierarchy of levels and the matching rules by VR (PS3.4 C.2.2.2, C.4.1)."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from db.find import (
    Condition,
    Days,
    Field,
    FindSpec,
    Instants,
    Level,
    NameLike,
    Numbers,
    OneOf,
    Test,
    Wildcard,
    level_of,
)
from regionmir.core.records import Disclosure
from regionmir.query import values
from regionmir.query.anatomic import REGIONS, region_condition
from regionmir.query.disclosure import seen
from regionmir.query.keys import ANATOMIC_REGION, QUERY_RETRIEVE_LEVEL, InvalidKey, Key, Keys

PATIENT_ID: Final = "00100020"
STUDY_INSTANCE_UID: Final = "0020000D"
STUDY_DATE: Final = "00080020"
STUDY_TIME: Final = "00080030"
MODALITY: Final = "00080060"
MODALITIES_IN_STUDY: Final = "00080061"

UNIQUE_KEYS: Final = {
    Level.PATIENT: PATIENT_ID,
    Level.STUDY: STUDY_INSTANCE_UID,
    Level.SERIES: "0020000E",
    Level.IMAGE: "00080018",
}
"""The unique key of each level (PS3.4 C.6.1.1, C.6.2.1)."""

REQUIRED_KEYS: Final = frozenset(
    "00080020 00080030 00080050 00080060 00100010 00200010 00200011 00200013".split()  # noqa: SIM905
)
"""The required keys of all levels (PS3.4 tables C.6-1 to C.6-5)."""

SERVICE_TAGS: Final = frozenset({"00080052", "00080053", "00080054", "00080056", "00080201"})
"""Of the query itself, never matched: level, view, RetrieveAETitle, InstanceAvailability, TimezoneOffsetFromUTC."""

_NUMBER_VRS = frozenset({"IS", "US", "UL", "SS", "SL"})
_DECIMAL_VRS = frozenset({"DS", "FL", "FD"})


class Root(Enum):
    """Information model of a query: which level is the highest (PS3.4 C.6)."""

    PATIENT = Level.PATIENT
    STUDY = Level.STUDY


@dataclass(frozen=True, slots=True)
class FindRequest:
    """An ordinary query, checked. `wanted` holds the keys to be answered, known or not."""

    root: Root
    level: Level
    disclosure: Disclosure
    charset: tuple[str, ...]
    wanted: tuple[Key, ...]
    conditions: tuple[Condition, ...]
    ignored: tuple[str, ...]
    """Keywords of keys that ask something and are not matched: answers come with FF01H."""
    matches_nothing: bool
    """A pseudonymous caller asked for the value of something that it may not see, or that is not matched here."""

    @property
    def by_region(self) -> bool:
        """Return whether Anatomic Region Sequence is matched, and answered, by the regions found."""
        return any(condition.field == REGIONS for condition in self.conditions)

    def _field(self, tag: str) -> Field | None:
        return REGIONS if tag == ANATOMIC_REGION and self.by_region else seen(tag, self.disclosure)

    def spec(self, *, limit: int | None, study_pks: tuple[int, ...] | None = None) -> FindSpec:
        """Return what the database is asked."""
        tags = {*self.answered_tags(), STUDY_DATE}  # studies are put in order by their date
        fields = (self._field(tag) for tag in sorted(tags) if level_of(tag).depth <= self.level.depth)
        known = tuple(field for field in fields if field is not None)
        return FindSpec(self.level, known, self.conditions, limit, study_pks)

    def _unique_tags(self) -> list[str]:
        """Return the unique keys that every answer holds: those of the level and of all above it."""
        top, own = self.root.value.depth, self.level.depth
        return [tag for level, tag in UNIQUE_KEYS.items() if top <= level.depth <= own]

    def answered_tags(self) -> list[str]:
        """Return the tags of an answer in order: the unique keys and what was asked for."""
        return sorted({*self._unique_tags(), *(key.tag for key in self.wanted)})


def read_request(keys: Keys, root: Root, disclosure: Disclosure, *, combined: bool = False) -> FindRequest:
    """Return the ordinary query that `keys` make. Raises `InvalidKey`.

    `combined`: StudyDate and StudyTime are one instant, as negotiated (PS3.4 C.5.1.1).
    """
    level = read_level(keys, root)
    _check_hierarchy(keys, root, level)
    wanted = tuple(key for key in keys.by_tag.values() if key.tag not in SERVICE_TAGS)
    asking = [_at_level(key, level) for key in wanted if key.asks]
    by_region = [key for key in asking if key.tag == ANATOMIC_REGION and level is Level.IMAGE]
    asking = [key for key in asking if key not in by_region]
    unmatched = [key for key in asking if level_of(key.tag).depth > level.depth or key.vr == "SQ"]
    hidden = [key for key in asking if seen(key.tag, disclosure) is None]
    matched = [key for key in asking if key not in unmatched and key not in hidden]
    conditions = _conditions(matched, disclosure, combined=combined) + tuple(map(region_condition, by_region))
    if disclosure is not Disclosure.IDENTIFIED:
        hidden, unmatched = hidden + unmatched, []
    names = tuple(key.keyword for key in unmatched)
    return FindRequest(root, level, disclosure, keys.charset, wanted, conditions, names, bool(hidden))


def read_level(keys: Keys, root: Root) -> Level:
    """Return the Query/Retrieve Level. Raises `InvalidKey` for none, or one that the model has not."""
    text = keys.text(QUERY_RETRIEVE_LEVEL).upper()
    try:
        level = Level(text)
    except ValueError:
        raise InvalidKey("QueryRetrieveLevel is missing" if not text else "QueryRetrieveLevel is not known") from None
    if level.depth < root.value.depth:
        raise InvalidKey("Study Root has no level PATIENT")
    return level


def _at_level(key: Key, level: Level) -> Key:
    """Return the key as it is matched: clients that look for studies say Modality and mean ModalitiesInStudy."""
    if key.tag == MODALITY and level is Level.STUDY:
        return Key(MODALITIES_IN_STUDY, key.vr, key.values)
    return key


def _check_hierarchy(keys: Keys, root: Root, level: Level) -> None:
    """Refuse a query that does not say below which patient, study and series it asks (PS3.4 C.4.1.2.1).

    A UID names its study or series alone, so PatientID may be missing where a study is named.
    """
    for above, tag in UNIQUE_KEYS.items():
        if not root.value.depth <= above.depth < level.depth:
            continue
        text = keys.text(tag)
        if not text and above is Level.PATIENT and keys.text(STUDY_INSTANCE_UID):
            continue
        name = Key(tag, "").keyword
        if not text:
            raise InvalidKey(f"level {level} needs {name}")
        if "\\" in text or values.has_wildcard(text):
            raise InvalidKey(f"level {level} needs one single {name}")


def _conditions(keys: list[Key], disclosure: Disclosure, *, combined: bool) -> tuple[Condition, ...]:
    found = []
    by_tag = {key.tag: key for key in keys}
    if combined and STUDY_DATE in by_tag and STUDY_TIME in by_tag:
        together = Instants(*_combined(by_tag[STUDY_DATE], by_tag[STUDY_TIME]))
        found.append(Condition(Field(STUDY_DATE), (together,), Field(STUDY_TIME)))
        keys = [key for key in keys if key.tag not in (STUDY_DATE, STUDY_TIME)]
    for key in keys:
        field = seen(key.tag, disclosure)
        assert field is not None  # the caller has sorted out the hidden ones
        found.append(Condition(field, tuple(_test(key, value) for value in key.values)))
    return tuple(_merged(condition) for condition in found)


def _merged(condition: Condition) -> Condition:
    """Return the condition with its single values in one list: a list of 500 UIDs is one comparison."""
    single = [value for test in condition.tests if isinstance(test, OneOf) for value in test.values]
    if len(single) < 2:
        return condition
    others = tuple(test for test in condition.tests if not isinstance(test, OneOf))
    return Condition(condition.field, (OneOf(tuple(single)), *others), condition.time)


def _test(key: Key, text: str) -> Test:
    """Return how one value of a key is matched, by its VR."""
    if key.vr in _RANGES:
        return _RANGES[key.vr](key, text)
    if key.vr in _NUMBER_VRS:
        number = values.integer(text)
        return Numbers(() if number is None else (number,))
    if key.vr in _DECIMAL_VRS:
        return Numbers(values.decimal(text))
    if key.vr == "PN":
        return NameLike(values.name_patterns(text))
    text = text.upper() if key.vr == "CS" else text
    if key.vr in values.WILDCARD_VRS and values.has_wildcard(text):
        return Wildcard(text)
    return OneOf((text,))


def _days(key: Key, text: str) -> Test:
    found = values.date_range(text)
    if found is None:
        raise InvalidKey(f"{key.keyword} is no date YYYYMMDD and no range of dates")
    return Days(found)


def _times(key: Key, text: str) -> Test:
    found = values.time_range(text)
    if found is None:
        raise InvalidKey(f"{key.keyword} is no time HHMMSS and no range of times")
    return Instants(*found)


def _datetimes(key: Key, text: str) -> Test:
    found = values.datetime_range(text)
    if found is None:
        raise InvalidKey(f"{key.keyword} is no date and time and no range of them")
    return Instants(*found)


_RANGES: Final[dict[str, Callable[[Key, str], Test]]] = {"DA": _days, "TM": _times, "DT": _datetimes}


def _combined(date: Key, time: Key) -> tuple[str, str]:
    """Return first and last instant (20 digits) that a range of dates and a range of times mean together."""
    days, times = _days(date, date.values[0]), _times(time, time.values[0])
    assert isinstance(days, Days)
    assert isinstance(times, Instants)
    first = f"{days.range.first:%Y%m%d}" if days.range.first else "0" * 8
    last = f"{days.range.last:%Y%m%d}" if days.range.last else "9" * 8
    return first + times.first, last + times.last
