"""The SQL side of C-FIND (and QIDO-RS): what a query asks for as values, matched by one parameterised statement.

A `Field` says in which form an attribute is seen. Matching and answering use the same form, so that nothing can be
found out by matching that the answer would not show.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Date,
    Integer,
    Numeric,
    Select,
    String,
    and_,
    bindparam,
    case,
    cast,
    false,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import JSONPATH, aggregate_order_by
from sqlalchemy.orm import Session, aliased

from db import availability, pseudonyms
from db.availability import Availability
from db.filing import PATIENT_TAGS, SERIES_TAGS, STUDY_TAGS
from db.tables import InstanceRow, ModelRow, PatientRow, PseudonymRow, RegionRow, SeriesRow, StudyRow
from db.visibility import visible
from regionmir.core.records import DateRange


class Level(StrEnum):
    """Query/Retrieve Level (0008,0052), from the top of the hierarchy down (PS3.4 C.6)."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"

    @property
    def depth(self) -> int:
        return list(Level).index(self)


class Form(Enum):
    """How an attribute is seen."""

    ORIGINAL = "as received"
    PSEUDONYM = "the pseudonym in its place"
    SHIFTED = "a date, moved by the days of its patient"
    BANDED = "an age, as the first year of its band of five, at most 90"
    KNOWN = "one of the known codes, else empty"
    SMALL = "a number below 100,000, else empty"
    FIXED = "the same for all"
    REGIONS = "the anatomies that the active model found"


@dataclass(frozen=True, slots=True)
class Field:
    """An attribute in the form in which it is matched and answered."""

    tag: str
    form: Form = Form.ORIGINAL
    known: tuple[str, ...] = ()
    """For `KNOWN`: the codes, or beginnings of UIDs that end in a dot. For `FIXED`: the value."""


@dataclass(frozen=True, slots=True)
class OneOf:
    """Equal to one of these texts."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wildcard:
    """Like this text, in which `*` is any text and `?` one character."""

    text: str


@dataclass(frozen=True, slots=True)
class NameLike:
    """A name in whose folded form all of these regular expressions are found (`regionmir.query.values`)."""

    patterns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Days:
    """A date in this range."""

    range: DateRange


@dataclass(frozen=True, slots=True)
class Instants:
    """A time (12 digits) or a date with a time (20 digits) from `first` to `last`, both inclusive."""

    first: str
    last: str


@dataclass(frozen=True, slots=True)
class Numbers:
    """Equal to one of these numbers."""

    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Ages:
    """A patient's age at the study from `first` to `last` whole years, both inclusive; where ages are seen in bands, in
    a band from the one of `first` to the one of `last`."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class HasRegion:
    """An instance in which the active model found one of these anatomies."""

    anatomy_pks: tuple[int, ...]


Test = OneOf | Wildcard | NameLike | Days | Instants | Numbers | Ages | HasRegion


@dataclass(frozen=True, slots=True)
class Condition:
    """An attribute of which one value passes one of the tests; with `time`, a date and a time taken together."""

    field: Field
    tests: tuple[Test, ...]
    time: Field | None = None


@dataclass(frozen=True, slots=True)
class FindSpec:
    """What to find at `level`. `fields` are answered; `limit` rows at most, the first `offset` left out; `study_pks`
    None is no restriction."""

    level: Level
    fields: tuple[Field, ...]
    conditions: tuple[Condition, ...] = ()
    limit: int | None = None
    study_pks: tuple[int, ...] | None = None
    offset: int = 0


@dataclass(frozen=True, slots=True)
class FindRow:
    """One match: our keys (None below the level) and by tag a DICOM JSON element, text, number, date or list."""

    patient_pk: int
    study_pk: int | None
    values: dict[str, Any]
    availability: Availability = Availability.ONLINE


_TOP_BAND = 90
_BAND_YEARS = 5
_SMALL_NUMBERS = 100_000


class _Kind(Enum):
    TEXT = "text"
    NAME = "name"
    DATE = "date"
    TIME = "time"
    NUMBER = "number"
    SET = "set"


_Column = tuple[_Kind, Any]

_COLUMNS: Final[dict[str, _Column]] = {
    "00100010": (_Kind.NAME, PatientRow.name),
    "00100020": (_Kind.TEXT, PatientRow.patient_id),
    "00100021": (_Kind.TEXT, PatientRow.issuer),
    "00100030": (_Kind.DATE, PatientRow.birth_date),
    "00100040": (_Kind.TEXT, PatientRow.sex),
    "0020000D": (_Kind.TEXT, StudyRow.study_instance_uid),
    "00080020": (_Kind.DATE, StudyRow.study_date),
    "00080030": (_Kind.TIME, StudyRow.study_time),
    "00080050": (_Kind.TEXT, StudyRow.accession_number),
    "00200010": (_Kind.TEXT, StudyRow.study_id),
    "00081030": (_Kind.TEXT, StudyRow.study_description),
    "00080090": (_Kind.NAME, StudyRow.referring_physician),
    "0020000E": (_Kind.TEXT, SeriesRow.series_instance_uid),
    "00080060": (_Kind.TEXT, SeriesRow.modality),
    "00200011": (_Kind.NUMBER, SeriesRow.series_number),
    "0008103E": (_Kind.TEXT, SeriesRow.series_description),
    "00180015": (_Kind.TEXT, SeriesRow.body_part),
    "00080018": (_Kind.TEXT, InstanceRow.sop_instance_uid),
    "00080016": (_Kind.TEXT, InstanceRow.sop_class_uid),
    "00200013": (_Kind.NUMBER, InstanceRow.instance_number),
    "00280010": (_Kind.NUMBER, InstanceRow.rows),
    "00280011": (_Kind.NUMBER, InstanceRow.columns),
}
_FOUND_BY_US: Final[dict[str, _Column]] = {"00185101": (_Kind.TEXT, InstanceRow.view)}
"""Columns for forms other than the original: `attributes` holds the view as received."""
_ANSWERED_FROM_COLUMN: Final = frozenset({"00100020", "0020000D", "0020000E", "00080018", "00080016"})
"""The rest is answered from `attributes`, where nothing is cut short or lost that does not parse."""

_PATIENT_NAME, _STUDY_DATE = "00100010", "00080020"
_PSEUDONYMS: Final = {
    "00100010": (pseudonyms.PATIENT, PatientRow.key),
    "00100020": (pseudonyms.PATIENT, PatientRow.key),
    "0020000D": (pseudonyms.STUDY, StudyRow.study_instance_uid),
    "0020000E": (pseudonyms.SERIES, SeriesRow.series_instance_uid),
    "00080018": (pseudonyms.INSTANCE, InstanceRow.sop_instance_uid),
}
_LEVEL_OF_COMPUTED: Final = {
    "00201200": Level.PATIENT,
    "00201202": Level.PATIENT,
    "00201204": Level.PATIENT,
    "00201206": Level.STUDY,
    "00201208": Level.STUDY,
    "00080061": Level.STUDY,
    "00080062": Level.STUDY,
    "00201209": Level.SERIES,
}
_ATTRIBUTES: Final = {
    Level.PATIENT: PatientRow.attributes,
    Level.STUDY: StudyRow.attributes,
    Level.SERIES: SeriesRow.attributes,
    Level.IMAGE: InstanceRow.attributes,
}


def listed_tags() -> tuple[str, ...]:
    """Return the attributes that have a column or are counted: the keys that the conformance statement lists."""
    return tuple(sorted({*_COLUMNS, *_LEVEL_OF_COMPUTED}))


def level_of(tag: str) -> Level:
    """Return the highest level at which the attribute is known: that of its information entity (PS3.3 A.1.2)."""
    if tag in _LEVEL_OF_COMPUTED:
        return _LEVEL_OF_COMPUTED[tag]
    for level, tags in ((Level.PATIENT, PATIENT_TAGS), (Level.STUDY, STUDY_TAGS), (Level.SERIES, SERIES_TAGS)):
        if tag in tags:
            return level
    return Level.IMAGE


def find(session: Session, spec: FindSpec) -> Iterator[FindRow]:
    """Yield what matches, newest study first, below it by number: one statement, whatever is asked."""
    query = _answering(spec.level, spec.fields, of_studies=spec.study_pks is not None)
    if spec.conditions:
        query = query.where(*map(_condition, spec.conditions))
    if spec.limit is not None:
        query = query.limit(spec.limit)
    if spec.offset:
        query = query.offset(spec.offset)
    tags = [field.tag for field in spec.fields]
    named = {} if spec.study_pks is None else {"study_pks": spec.study_pks}
    for patient_pk, study_pk, available, *values in session.execute(query, named):
        yield FindRow(patient_pk, study_pk, dict(zip(tags, values, strict=True)), Availability(available))


@lru_cache(maxsize=256)
def _answering(level: Level, fields: tuple[Field, ...], *, of_studies: bool) -> Select[Any]:
    """Return the statement without conditions, in order; `of_studies`: of those in `:study_pks` alone."""
    columns = [_answered(field).label(f"v{n}") for n, field in enumerate(fields)]
    study_pk = literal(None, Integer) if level is Level.PATIENT else StudyRow.pk
    query = _joined(select(PatientRow.pk, study_pk, _availability(level), *columns), level)
    query = query.order_by(*_order(level, fields))
    return query.where(StudyRow.pk.in_(bindparam("study_pks", expanding=True))) if of_studies else query


def _joined(query: Select[Any], level: Level) -> Select[Any]:
    query = query.select_from(PatientRow)
    if level is Level.PATIENT:  # one whose studies are all hidden is hidden too
        of_patient = select(StudyRow.pk).where(StudyRow.patient_pk == PatientRow.pk, visible()).correlate(PatientRow)
        return query.where(of_patient.exists())
    query = query.join(StudyRow, StudyRow.patient_pk == PatientRow.pk).where(visible())
    if level.depth >= Level.SERIES.depth:
        query = query.join(SeriesRow, SeriesRow.study_pk == StudyRow.pk)
    if level.depth >= Level.IMAGE.depth:
        query = query.join(InstanceRow, InstanceRow.series_pk == SeriesRow.pk)
    return query


def _availability(level: Level) -> ColumnElement[str]:
    below = {
        Level.PATIENT: (availability.STUDY.patient_pk == PatientRow.pk, visible(availability.STUDY)),
        Level.STUDY: (availability.SERIES.study_pk == StudyRow.pk,),
        Level.SERIES: (availability.INSTANCE.series_pk == SeriesRow.pk,),
        Level.IMAGE: (availability.INSTANCE.pk == InstanceRow.pk,),
    }
    return availability.of_instances(*below[level]).label("availability")


def _order(level: Level, fields: tuple[Field, ...]) -> list[Any]:
    """Order by disclosed values: the date as this caller may see it, else nothing of it."""
    if level is Level.STUDY:
        shown = [_seen(field)[1].desc().nulls_last() for field in fields if field.tag == _STUDY_DATE]
        return [*shown, StudyRow.pk]
    if level is Level.SERIES:
        return [SeriesRow.series_number.asc().nulls_last(), SeriesRow.pk]
    if level is Level.IMAGE:
        return [InstanceRow.instance_number.asc().nulls_last(), InstanceRow.pk]
    return [PatientRow.pk]


@lru_cache(maxsize=2048)
def _answered(field: Field) -> ColumnElement[Any]:
    """Return the column that answers a field."""
    if field.form is Form.PSEUDONYM:
        kind, original = _PSEUDONYMS[field.tag]
        row = PseudonymRow
        found = select(row.pseudonym).where(row.kind == kind, row.original == original)
        return found.correlate(PatientRow, StudyRow, SeriesRow, InstanceRow).scalar_subquery()
    if field.form is Form.REGIONS:
        return _found_regions()
    if field.form is Form.ORIGINAL and field.tag not in _ANSWERED_FROM_COLUMN and field.tag not in _LEVEL_OF_COMPUTED:
        return _ATTRIBUTES[level_of(field.tag)][field.tag]
    kind_of, column = _seen(field)
    return _as_array(column) if kind_of is _Kind.SET else column


def _condition(condition: Condition) -> ColumnElement[bool]:
    if condition.time is not None:
        return or_(false(), *(_together(condition.field, condition.time, test) for test in condition.tests))
    field = condition.field
    if any(isinstance(test, Ages) for test in condition.tests):
        return or_(false(), *(_aged(field, test) for test in condition.tests if isinstance(test, Ages)))
    if any(isinstance(test, HasRegion) for test in condition.tests):
        return or_(false(), *(_has_region(test) for test in condition.tests if isinstance(test, HasRegion)))
    if field.form is Form.PSEUDONYM:
        kind, original = _PSEUDONYMS[field.tag]
        row = PseudonymRow
        seen_as = _Kind.NAME if field.tag == _PATIENT_NAME else _Kind.TEXT
        passing = select(row.original).where(row.kind == kind, _any_passes(seen_as, row.pseudonym, condition.tests))
        return original.in_(passing)
    if field.form is Form.ORIGINAL and field.tag not in _COLUMNS and field.tag not in _LEVEL_OF_COMPUTED:
        return _any_value_passes(_ATTRIBUTES[level_of(field.tag)], field.tag, condition.tests)
    kind_of, column = _seen(field)
    if kind_of is _Kind.SET:
        passes = _any_passes(_Kind.TEXT, column.selected_columns[0], condition.tests)
        return column.where(passes).exists()  # type: ignore[no-any-return]
    return _any_passes(kind_of, column, condition.tests)


@lru_cache(maxsize=2048)
def _seen(field: Field) -> _Column:
    """Return the column behind a field in its form; a `SET` is a statement that selects its values."""
    if field.form is Form.FIXED:
        return _Kind.TEXT, literal(field.known[0])
    if field.form is Form.SHIFTED:
        return _Kind.DATE, cast(_COLUMNS[field.tag][1] + PatientRow.date_shift_days, Date)
    if field.form is Form.BANDED:
        return _Kind.TEXT, age_band()
    computed = field.tag in _LEVEL_OF_COMPUTED
    kind, column = _computed(field.tag) if computed else _COLUMNS.get(field.tag) or _FOUND_BY_US[field.tag]
    if field.form is Form.SMALL:
        return kind, case((column.between(0, _SMALL_NUMBERS - 1), column))
    if field.form is Form.KNOWN:
        return kind, _only_known(kind, column, field.known)
    return kind, column


def _only_known(kind: _Kind, column: Any, known: tuple[str, ...]) -> Any:
    if kind is _Kind.SET:
        return column.where(_is_known(column.selected_columns[0], known))
    return case((_is_known(column, known), column), else_="")


def _is_known(column: Any, known: tuple[str, ...]) -> ColumnElement[bool]:
    beginnings = [column.startswith(code, autoescape=True) for code in known if code.endswith(".")]
    return or_(column.in_([code for code in known if not code.endswith(".")]), *beginnings)


def _age_years() -> Any:
    """Return the age at the study in years, the greatest of its instances', null where unknown."""
    series, instance = aliased(SeriesRow), aliased(InstanceRow)
    return (
        select(func.max(instance.age_years))
        .join(series, series.pk == instance.series_pk)
        .where(series.study_pk == StudyRow.pk)
        .correlate(StudyRow)
        .scalar_subquery()
    )


def age_band() -> ColumnElement[Any]:
    """Return the age at the study (the greatest of its instances') as an AS value of its band, null where unknown."""
    years = _age_years()
    band = cast(func.floor(func.least(years, _TOP_BAND) / _BAND_YEARS) * _BAND_YEARS, Integer)
    shown = func.lpad(cast(band, String), 3, "0") + "Y"
    return case((years.is_not(None), shown))  # LEAST passes over a null: an unknown age would be the top band


def _aged(field: Field, ages: Ages) -> ColumnElement[bool]:
    """Match an age in whole years, or, where the caller sees bands, by the bands alone."""
    years = _age_years()
    if field.form is not Form.BANDED:
        return func.floor(years).between(ages.first, ages.last)
    first, last = (min(age, _TOP_BAND) // _BAND_YEARS for age in (ages.first, ages.last))
    return and_(years.is_not(None), func.floor(func.least(years, _TOP_BAND) / _BAND_YEARS).between(first, last))


def _regions_of_instance(column: Any) -> Select[Any]:
    """Return the statement that selects `column` of the regions that the active model found in the instance."""
    active = select(ModelRow.pk).where(ModelRow.status == "active").scalar_subquery()
    row = RegionRow
    return select(column).where(row.instance_pk == InstanceRow.pk, row.model_pk == active).correlate(InstanceRow)


def _has_region(wanted: HasRegion) -> ColumnElement[bool]:
    return _regions_of_instance(literal(1)).where(RegionRow.anatomy_pk.in_(wanted.anatomy_pks)).exists()


def _found_regions() -> ColumnElement[Any]:
    row = RegionRow
    return _regions_of_instance(func.array_agg(aggregate_order_by(row.anatomy_pk, row.anatomy_pk))).scalar_subquery()


def _computed(tag: str) -> _Column:
    """Return a count, or the statement that selects the values of a set, below a patient, study or series."""
    study, series, instance = aliased(StudyRow), aliased(SeriesRow), aliased(InstanceRow)
    of_study = series.study_pk == StudyRow.pk
    of_patient = and_(study.patient_pk == PatientRow.pk, visible(study))
    with_series, with_instance = series.study_pk == study.pk, instance.series_pk == series.pk
    statements: dict[str, Select[Any]] = {
        "00201200": select(func.count(study.pk)).where(of_patient),
        "00201202": select(func.count(series.pk)).join(study, with_series).where(of_patient),
        "00201204": select(func.count(instance.pk))
        .join(series, with_instance)
        .join(study, with_series)
        .where(of_patient),
        "00201206": select(func.count(series.pk)).where(of_study),
        "00201208": select(func.count(instance.pk)).join(series, with_instance).where(of_study),
        "00201209": select(func.count(instance.pk)).where(instance.series_pk == SeriesRow.pk),
        "00080061": select(series.modality).where(of_study, series.modality != ""),
        "00080062": select(instance.sop_class_uid).join(series, with_instance).where(of_study),
    }
    statement = statements[tag].correlate(PatientRow, StudyRow, SeriesRow)
    if tag in ("00080061", "00080062"):
        return _Kind.SET, statement
    return _Kind.NUMBER, statement.scalar_subquery()


def _as_array(statement: Any) -> ColumnElement[Any]:
    value = statement.selected_columns[0]
    values = func.array_agg(aggregate_order_by(value.distinct(), value))
    return statement.with_only_columns(values, maintain_column_froms=True).scalar_subquery()  # type: ignore[no-any-return]


def _any_passes(kind: _Kind, column: Any, tests: tuple[Test, ...]) -> ColumnElement[bool]:
    return or_(false(), *(_passes(kind, column, test) for test in tests))


def _passes(kind: _Kind, column: Any, test: Test) -> ColumnElement[bool]:
    match test:
        case OneOf(values):
            return column.in_(values)  # type: ignore[no-any-return]
        case Wildcard(text):
            return column.like(_like_pattern(text), escape="\\")  # type: ignore[no-any-return]
        case NameLike(patterns):
            folded = func.lower(func.normalize(column, literal_column("NFKC")))
            return and_(true(), *(folded.op("~")(pattern) for pattern in patterns))
        case Days(days) if kind is _Kind.DATE:
            return _between(column, days.first, days.last)
        case Days(days):
            first, last = (day and f"{day:%Y%m%d}" for day in (days.first, days.last))
            return _between(func.left(func.replace(column, ".", ""), 8).collate("C"), first, last)
        case Instants(first, last):
            return and_(column != "", _between(_digits(column, len(first)), first, last))
        case Numbers(values):
            return cast(column, Numeric).in_(values)
        case Ages() | HasRegion():
            raise AssertionError("matched by itself, not by the value of a column")


def studies_that_pass(conditions: Sequence[Condition]) -> Select[int]:
    """Return the statement that selects the keys of the studies that pass all conditions (of level STUDY or above)."""
    studies = select(StudyRow.pk).select_from(PatientRow).join(StudyRow, StudyRow.patient_pk == PatientRow.pk)
    return studies.where(*map(_condition, conditions))


def _between(column: Any, first: Any, last: Any) -> ColumnElement[bool]:
    bounds = [column >= first] if first is not None else []
    return and_(column.is_not(None), *bounds, *([column <= last] if last is not None else []))


def _digits(column: Any, width: int) -> ColumnElement[Any]:
    """Return a time as digits to compare: without colons, point or offset, filled up with zeros."""
    bare = func.regexp_replace(column, "[+-].*$|[^0-9]", "", "g")
    return func.rpad(bare, width, "0").collate("C")


def _together(date: Field, time: Field, test: Test) -> ColumnElement[bool]:
    """Match a date and a time as one instant (extended negotiation of combined date-time matching, PS3.4 C.5.1.1)."""
    assert isinstance(test, Instants)
    day, of_day = _seen(date)[1], _seen(time)[1]
    instant = func.concat(func.to_char(day, "YYYYMMDD"), _digits(of_day, len(test.first) - 8)).collate("C")
    return and_(day.is_not(None), _between(instant, test.first, test.last))


def _any_value_passes(attributes: Any, tag: str, tests: tuple[Test, ...]) -> ColumnElement[bool]:
    """Match an attribute that has no column of its own: one value of its DICOM JSON element passes."""
    value = func.jsonb_path_query(attributes, cast(f'$."{tag}".Value[*]', JSONPATH)).column_valued("value")
    return select(literal(1)).where(or_(false(), *(_json_passes(value, test) for test in tests))).exists()


def _json_passes(value: Any, test: Test) -> ColumnElement[bool]:
    if isinstance(test, Numbers):
        return value.in_([func.to_jsonb(cast(number, Numeric)) for number in test.values])  # type: ignore[no-any-return]
    if isinstance(test, NameLike):
        groups = (func.coalesce(value.op("->>")(group), "") for group in ("Alphabetic", "Ideographic", "Phonetic"))
        return _passes(_Kind.NAME, func.concat_ws("=", *groups), test)
    return _passes(_Kind.TEXT, func.btrim(value.op("#>>")(literal_column("'{}'"))), test)


def _like_pattern(text: str) -> str:
    parts = {"*": "%", "?": "_", "%": "\\%", "_": "\\_", "\\": "\\\\"}
    return "".join(parts.get(c, c) for c in text)
