"""What to send or fetch: the instances that a C-GET or C-MOVE names, and those behind a kept answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import ColumnElement, false, select, true
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from db import corrected, result_sets
from db.find import age_band
from db.pseudonyms import INSTANCE, PATIENT, SERIES, STUDY
from db.tables import InstanceRow, PatientRow, PseudonymRow, RegionRow, SeriesRow, StudyRow
from db.visibility import visible
from regionmir.core.geometry import Box
from regionmir.core.identifiers import Uid
from regionmir.core.keeping import Kept
from regionmir.core.pseudonyms import ISSUER
from regionmir.core.records import CopyIdentity, Disclosure, PatientValues

_BURNED_IN_ANNOTATION = "00280301"
_CHUNK = 10_000
"""Keys in one statement; PostgreSQL takes at most 65,535 parameters."""

Key = Literal["PatientID", "IssuerOfPatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which instances: each key must have one of its values. At least one key is needed."""

    keys: Mapping[Key, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """An instance that can be sent: what it is and where its object lies."""

    sop_instance_uid: Uid
    sop_class_uid: Uid
    transfer_syntax_uid: Uid
    storage_key: str
    study_instance_uid: Uid
    pk: int
    series_instance_uid: Uid
    burned_in_annotation: str
    """Values as received, joined by a backslash; empty where the attribute is absent or empty."""
    patient_id: str = ""
    """As received, or as it was corrected; empty where unknown."""
    whole: bool = True
    """False where the object is no longer kept as it came: it cannot be sent."""
    corrected: PatientValues | None = None
    """Whose it is, where that is not what its object says: it leaves with these values."""


def find_instances(session: Session, wanted: Wanted, disclosure: Disclosure, *, limit: int) -> list[StoredInstance]:
    """Return the instances whose keys match, series by series in the order of their numbers; at most `limit`.

    For an identified asker the keys are original values, for a pseudonymous one they are pseudonyms and nothing else.
    """
    if not wanted.keys:
        return []
    matches = _matches_pseudonym if disclosure is Disclosure.PSEUDONYMOUS else _matches_original
    return _stored(session, *(matches(key, list(values)) for key, values in wanted.keys.items()), limit=limit)


def missing(session: Session, wanted: Wanted, disclosure: Disclosure, *, limit: int) -> list[StoredInstance]:
    """Return those of the wanted instances (`find_instances`) whose objects are not kept as they came."""
    if not wanted.keys:
        return []
    matches = _matches_pseudonym if disclosure is Disclosure.PSEUDONYMOUS else _matches_original
    conditions = [matches(key, list(values)) for key, values in wanted.keys.items()]
    return _stored(session, *conditions, InstanceRow.kept != Kept.OBJECT, limit=limit)


def instances_by_pk(session: Session, pks: Sequence[int]) -> list[StoredInstance]:
    """Return the instances with these keys of ours, those of hidden studies left out."""
    return _stored(session, InstanceRow.pk.in_(list(pks)))


def _stored(session: Session, *conditions: ColumnElement[bool], limit: int | None = None) -> list[StoredInstance]:
    query = (
        select(
            InstanceRow.sop_instance_uid,
            InstanceRow.sop_class_uid,
            InstanceRow.transfer_syntax_uid,
            InstanceRow.storage_key,
            StudyRow.study_instance_uid,
            InstanceRow.pk,
            SeriesRow.series_instance_uid,
            InstanceRow.attributes[_BURNED_IN_ANNOTATION],
            PatientRow.patient_id,
            InstanceRow.kept == Kept.OBJECT,
            *corrected.COLUMNS,
        )
        .join(SeriesRow, SeriesRow.pk == InstanceRow.series_pk)
        .join(StudyRow, StudyRow.pk == SeriesRow.study_pk)
        .join(PatientRow, PatientRow.pk == StudyRow.patient_pk)
        .where(visible(), *conditions)
        .order_by(StudyRow.pk, SeriesRow.series_number, SeriesRow.pk, InstanceRow.instance_number, InstanceRow.pk)
        .limit(limit)
    )
    return [
        StoredInstance(
            Uid(instance),
            Uid(sop_class),
            Uid(syntax),
            key,
            Uid(study),
            pk,
            Uid(series),
            joined_values(burned_in),
            patient,
            whole,
            corrected.values_of(patient, *values),
        )
        for instance, sop_class, syntax, key, study, pk, series, burned_in, patient, whole, *values in session.execute(
            query
        )
    ]


def copy_identities(session: Session, instance_pks: Sequence[int]) -> dict[int, CopyIdentity]:
    """Return by instance who its pseudonymous copy is of: what pseudonymous answers to C-FIND show."""
    found: dict[int, CopyIdentity] = {}
    for start in range(0, len(instance_pks), _CHUNK):
        query = _IDENTITIES.where(InstanceRow.pk.in_(instance_pks[start : start + _CHUNK]))
        for pk, patient, study, series, instance, shift, age in session.execute(query):
            found[pk] = CopyIdentity(patient, Uid(study), Uid(series), Uid(instance), shift, age or "")
    return found


def _identities() -> Any:
    rows = [(aliased(PseudonymRow), kind, original) for kind, original in _PSEUDONYMS.values()]
    query: Any = select(InstanceRow.pk, *(row.pseudonym for row, _, _ in rows), PatientRow.date_shift_days, age_band())
    query = (
        query.select_from(InstanceRow)
        .join(SeriesRow, SeriesRow.pk == InstanceRow.series_pk)
        .join(StudyRow, StudyRow.pk == SeriesRow.study_pk)
        .join(PatientRow, PatientRow.pk == StudyRow.patient_pk)
    )
    for row, kind, original in rows:
        query = query.join(row, (row.kind == kind) & (row.original == original))
    return query


def joined_values(element: Any) -> str:
    """Return the values of a DICOM JSON element, joined by a backslash."""
    values = element.get("Value") if isinstance(element, dict) else None
    return "\\".join("" if value is None else str(value) for value in values or [])


@dataclass(frozen=True, slots=True)
class AnsweredRegion:
    """A region of a kept answer: the query's own (`rank` 0) or a hit's. `box` in stored pixels."""

    rank: int
    study_instance_uid: Uid
    series_instance_uid: Uid
    sop_instance_uid: Uid
    sop_class_uid: Uid
    transfer_syntax_uid: Uid
    box: Box


def answered_regions(session: Session, code: str) -> list[AnsweredRegion]:
    """Return the regions of the answer kept under this code by rank, the query's first; none if there is no such."""
    kept = result_sets.get(session, code)
    if kept is None:
        return []
    ranks = {kept.anchor_instance_pk: 0} | {hit["instance_pk"]: hit["rank"] for hit in kept.hits}
    query = (
        select(
            RegionRow,
            StudyRow.study_instance_uid,
            SeriesRow.series_instance_uid,
            InstanceRow.sop_instance_uid,
            InstanceRow.sop_class_uid,
            InstanceRow.transfer_syntax_uid,
        )
        .join(InstanceRow, InstanceRow.pk == RegionRow.instance_pk)
        .join(SeriesRow, SeriesRow.pk == InstanceRow.series_pk)
        .join(StudyRow, StudyRow.pk == SeriesRow.study_pk)
        .where(
            RegionRow.instance_pk.in_(ranks),
            RegionRow.model_pk == kept.model_pk,
            RegionRow.anatomy_pk == kept.anatomy_pk,
            visible(),
        )
    )
    found = [
        AnsweredRegion(
            ranks[row.instance_pk],
            Uid(study),
            Uid(series),
            Uid(instance),
            Uid(sop_class),
            Uid(syntax),
            Box(row.x0, row.y0, row.x1, row.y1),
        )
        for row, study, series, instance, sop_class, syntax in session.execute(query)
    ]
    return sorted(found, key=lambda region: region.rank)


_COLUMNS: dict[Key, InstrumentedAttribute[str]] = {
    "PatientID": PatientRow.patient_id,
    "IssuerOfPatientID": PatientRow.issuer,
    "StudyInstanceUID": StudyRow.study_instance_uid,
    "SeriesInstanceUID": SeriesRow.series_instance_uid,
    "SOPInstanceUID": InstanceRow.sop_instance_uid,
}

_PSEUDONYMS: dict[Key, tuple[str, InstrumentedAttribute[str]]] = {
    "PatientID": (PATIENT, PatientRow.key),
    "StudyInstanceUID": (STUDY, StudyRow.study_instance_uid),
    "SeriesInstanceUID": (SERIES, SeriesRow.series_instance_uid),
    "SOPInstanceUID": (INSTANCE, InstanceRow.sop_instance_uid),
}


def _matches_original(key: Key, values: list[str]) -> ColumnElement[bool]:
    return _COLUMNS[key].in_(values)


def _matches_pseudonym(key: Key, values: list[str]) -> ColumnElement[bool]:
    if key == "IssuerOfPatientID":
        return true() if set(values) == {ISSUER} else false()
    kind, original = _PSEUDONYMS[key]
    row = PseudonymRow
    return original.in_(select(row.original).where(row.kind == kind, row.pseudonym.in_(values)))


_IDENTITIES = _identities()
"""Made once: building it takes longer than running it."""
