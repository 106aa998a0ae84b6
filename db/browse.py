"""What pages show: studies with their instances and regions, named by pseudonyms. Reads only."""

import datetime as dt
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.orm import Session

from db.pseudonyms import INSTANCE, PATIENT, STUDY
from db.retrieve import joined_values
from db.tables import FindingRow, InstanceRow, PatientRow, PseudonymRow, RegionRow, SeriesRow, StudyRow
from db.visibility import visible
from regionmir.core.anatomy import Anatomy, anatomy_by_key
from regionmir.core.geometry import Box
from regionmir.core.records import DetectedRegion, InstanceState

BURNED_IN_ANNOTATION = "00280301"
ORIENTATION = ("00200020", "00187034")
"""PatientOrientation, FieldOfViewHorizontalFlip."""


@dataclass(frozen=True, slots=True)
class BrowsedInstance:
    """An instance by its pseudonymous UID. `rows`, `columns`: of the stored pixels, None where it declares none."""

    pk: int
    study_pk: int
    uid: str
    study_uid: str
    sop_class_uid: str
    modality: str
    state: InstanceState
    reason: str
    storage_key: str
    view: str
    age_years: float | None
    rows: int | None
    columns: int | None
    burned_in_annotation: str
    """Its values, joined by a backslash."""
    orientation: dict[str, Any]
    """What it states of how it lies (`regionmir.pixels.orientation`), in the DICOM JSON model by tag."""
    regions: tuple[DetectedRegion, ...]

    def region(self, anatomy: Anatomy) -> DetectedRegion | None:
        """Return the region of this anatomy, None where it was not found."""
        return next((found for found in self.regions if found.anatomy == anatomy), None)


@dataclass(frozen=True, slots=True)
class BrowsedStudy:
    """A study by its pseudonymous UID, and its patient by a pseudonym."""

    pk: int
    uid: str
    patient: str
    sex: str
    instances: tuple[BrowsedInstance, ...]


@dataclass(frozen=True, slots=True)
class StudyFilter:
    """Which studies a list shows; empty is no restriction. `text` is part of the patient's pseudonym or the whole of a
    pseudonymous Study UID; where `identified`, also part of a name, or a whole PatientID, accession number or UID."""

    text: str = ""
    state: str = ""
    sex: str = ""
    view: str = ""
    finding: str = ""
    identified: bool = False


EVERY_STUDY = StudyFilter()


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose study it really is: for identified callers alone."""

    patient_name: str
    patient_id: str
    accession_number: str
    study_date: dt.date | None


def count_studies(session: Session, wanted: StudyFilter = EVERY_STUDY) -> int:
    """Return how many studies there are."""
    query = select(func.count()).select_from(StudyRow).join(PatientRow, PatientRow.pk == StudyRow.patient_pk)
    return session.scalar(query.where(visible(), *_conditions(wanted))) or 0


def reasons(session: Session) -> list[tuple[InstanceState, str, int]]:
    """Return why instances are not indexed: state, reason and how many, the most frequent first."""
    row, count = InstanceRow, func.count()
    query = select(row.state, row.reason, count).where(row.reason != "", row.state != InstanceState.INDEXED)
    found = session.execute(query.group_by(row.state, row.reason).order_by(count.desc(), row.reason))
    return [(InstanceState(state), reason, many) for state, reason, many in found]


def identities(session: Session, study_pks: Collection[int]) -> dict[int, Identity]:
    """Return whose studies these are, by key."""
    query = (
        select(StudyRow.pk, PatientRow.name, PatientRow.patient_id, StudyRow.accession_number, StudyRow.study_date)
        .join(PatientRow, PatientRow.pk == StudyRow.patient_pk)
        .where(StudyRow.pk.in_(list(study_pks)), visible())
    )
    found = session.execute(query)
    return {pk: Identity(name, number, accession, date) for pk, name, number, accession, date in found}


def patients_of(session: Session, study_pks: Collection[int]) -> dict[int, str]:
    """Return the pseudonyms of the patients of these studies, by the studies' keys."""
    query = (
        select(StudyRow.pk, PseudonymRow.pseudonym)
        .join(PatientRow, PatientRow.pk == StudyRow.patient_pk)
        .join(PseudonymRow, and_(PseudonymRow.kind == PATIENT, PseudonymRow.original == PatientRow.key))
        .where(StudyRow.pk.in_(list(study_pks)))
    )
    return {pk: pseudonym for pk, pseudonym in session.execute(query)}  # noqa: C416 - rows are no pairs for mypy


def list_studies(
    session: Session, *, model_pk: int | None, limit: int, offset: int = 0, wanted: StudyFilter = EVERY_STUDY
) -> list[BrowsedStudy]:
    """Return a part of the studies, the newest first; regions are those of the model `model_pk`."""
    passing = _studies().where(*_conditions(wanted))
    newest = passing.order_by(StudyRow.received_at.desc(), StudyRow.pk.desc()).limit(limit).offset(offset)
    return _with_instances(session, newest, model_pk)


def find_study(session: Session, uid: str, *, model_pk: int | None) -> BrowsedStudy | None:
    """Return the study with this pseudonymous UID, None if there is none."""
    found = _with_instances(session, _studies().where(PseudonymRow.pseudonym == uid), model_pk)
    return found[0] if found else None


def pseudonym_of_study(session: Session, study_instance_uid: str) -> str | None:
    """Return the pseudonymous UID of a study that is named by its original one, None if it is not here."""
    query = _studies().where(StudyRow.study_instance_uid == study_instance_uid)
    found = session.execute(query).first()
    return None if found is None else str(found[1])


def find_instance(session: Session, uid: str, *, model_pk: int | None) -> BrowsedInstance | None:
    """Return the instance with this pseudonymous UID, None if there is none."""
    return next(iter(_instances(session, _instance_query().where(PseudonymRow.pseudonym == uid), model_pk)), None)


def instances_by_pk(session: Session, pks: Collection[int], *, model_pk: int | None) -> dict[int, BrowsedInstance]:
    """Return the instances with these keys of ours."""
    query = _instance_query().where(InstanceRow.pk.in_(list(pks)))
    return {found.pk: found for found in _instances(session, query, model_pk)}


def instance_pks(session: Session, *, state: InstanceState | None, limit: int, after: str | None) -> list[int]:
    """Return the keys of instances in the order in which they came, from behind the one with this pseudonymous UID."""
    query = _instance_query().with_only_columns(InstanceRow.pk).order_by(None).order_by(InstanceRow.pk)
    if state is not None:
        query = query.where(InstanceRow.state == state)
    if after is not None:
        last = (
            select(InstanceRow.pk)
            .join(PseudonymRow, PseudonymRow.original == InstanceRow.sop_instance_uid)
            .where(PseudonymRow.kind == INSTANCE, PseudonymRow.pseudonym == after)
        )
        query = query.where(InstanceRow.pk > last.scalar_subquery())
    return list(session.scalars(query.limit(limit)))


def _conditions(wanted: StudyFilter) -> list[ColumnElement[bool]]:
    """Return the conditions on a study joined with its patient."""
    found = []
    if wanted.text:
        found.append(or_(*_named(wanted.text, identified=wanted.identified)))
    if wanted.sex:
        found.append(PatientRow.sex == wanted.sex)
    if wanted.finding:
        found.append(StudyRow.pk.in_(select(FindingRow.study_pk).where(FindingRow.label == wanted.finding)))
    of_instance = [
        column == value
        for column, value in ((InstanceRow.state, wanted.state), (InstanceRow.view, wanted.view))
        if value
    ]
    if of_instance:
        having = select(SeriesRow.study_pk).join(InstanceRow, InstanceRow.series_pk == SeriesRow.pk)
        found.append(StudyRow.pk.in_(having.where(*of_instance)))
    return found


def _named(text: str, *, identified: bool) -> list[ColumnElement[bool]]:
    row = PseudonymRow
    patients = select(row.original).where(row.kind == PATIENT, row.pseudonym.icontains(text, autoescape=True))
    studies = select(row.original).where(row.kind == STUDY, row.pseudonym == text)
    found: list[ColumnElement[bool]] = [PatientRow.key.in_(patients), StudyRow.study_instance_uid.in_(studies)]
    if identified:
        found += [
            PatientRow.name.icontains(text, autoescape=True),
            PatientRow.patient_id == text,
            StudyRow.accession_number == text,
            StudyRow.study_instance_uid == text,
        ]
    return found


def _studies() -> Select[int, str, str, str]:
    return (
        select(StudyRow.pk, PseudonymRow.pseudonym, PatientRow.key, PatientRow.sex)
        .join(PatientRow, PatientRow.pk == StudyRow.patient_pk)
        .join(PseudonymRow, and_(PseudonymRow.kind == STUDY, PseudonymRow.original == StudyRow.study_instance_uid))
        .where(visible())
    )


def _with_instances(session: Session, query: Select[int, str, str, str], model_pk: int | None) -> list[BrowsedStudy]:
    studies = list(session.execute(query))
    patients = _patient_pseudonyms(session, {key for _, _, key, _ in studies})
    of_study: dict[int, list[BrowsedInstance]] = defaultdict(list)
    in_order = _instance_query().where(SeriesRow.study_pk.in_([pk for pk, _, _, _ in studies]))
    for instance in _instances(session, in_order, model_pk):
        of_study[instance.study_pk].append(instance)
    return [BrowsedStudy(pk, uid, patients.get(key, ""), sex, tuple(of_study[pk])) for pk, uid, key, sex in studies]


def _patient_pseudonyms(session: Session, keys: Collection[str]) -> dict[str, str]:
    query = select(PseudonymRow.original, PseudonymRow.pseudonym).where(
        PseudonymRow.kind == PATIENT, PseudonymRow.original.in_(list(keys))
    )
    return {original: pseudonym for original, pseudonym in session.execute(query)}  # noqa: C416 - rows are no pairs for mypy


def _instance_query() -> Select[InstanceRow, int, str, str, str]:
    study_uid = (
        select(PseudonymRow.pseudonym)
        .where(PseudonymRow.kind == STUDY, PseudonymRow.original == StudyRow.study_instance_uid)
        .correlate(StudyRow)
        .scalar_subquery()
    )
    return (
        select(InstanceRow, SeriesRow.study_pk, SeriesRow.modality, PseudonymRow.pseudonym, study_uid)
        .join(SeriesRow, SeriesRow.pk == InstanceRow.series_pk)
        .join(StudyRow, StudyRow.pk == SeriesRow.study_pk)
        .join(PseudonymRow, and_(PseudonymRow.kind == INSTANCE, PseudonymRow.original == InstanceRow.sop_instance_uid))
        .where(visible())
        .order_by(SeriesRow.series_number, SeriesRow.pk, InstanceRow.instance_number, InstanceRow.pk)
    )


def _instances(
    session: Session, query: Select[InstanceRow, int, str, str, str], model_pk: int | None
) -> list[BrowsedInstance]:
    found = list(session.execute(query))
    regions = _regions(session, [row.pk for row, *_ in found], model_pk)
    return [
        BrowsedInstance(
            pk=row.pk,
            study_pk=study_pk,
            uid=uid,
            study_uid=study_uid,
            sop_class_uid=row.sop_class_uid,
            modality=modality,
            state=InstanceState(row.state),
            reason=row.reason,
            storage_key=row.storage_key,
            view=row.view,
            age_years=row.age_years,
            rows=row.rows,
            columns=row.columns,
            burned_in_annotation=joined_values(row.attributes.get(BURNED_IN_ANNOTATION)),
            orientation={tag: row.attributes[tag] for tag in ORIENTATION if tag in row.attributes},
            regions=tuple(regions[row.pk]),
        )
        for row, study_pk, modality, uid, study_uid in found
    ]


def _regions(session: Session, instance_pks: list[int], model_pk: int | None) -> dict[int, list[DetectedRegion]]:
    found: dict[int, list[DetectedRegion]] = defaultdict(list)
    if model_pk is None:
        return found
    query = (
        select(RegionRow)
        .where(RegionRow.model_pk == model_pk, RegionRow.instance_pk.in_(instance_pks))
        .order_by(RegionRow.instance_pk, RegionRow.anatomy_pk)
    )
    for row in session.scalars(query):
        box = Box(row.x0, row.y0, row.x1, row.y1)
        found[row.instance_pk].append(DetectedRegion(anatomy_by_key(row.anatomy_pk), box, row.score))
    return found
