"""Films that results are made of: the film that one is about, with its regions, and the regions of hits."""

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from db import corrected, pseudonyms
from db import regions as regions_
from db.tables import (
    DeliveryRow,
    InstanceRow,
    PatientRow,
    RegionRow,
    SeriesRow,
    StudyResultsRow,
    StudyRow,
    WantedAnswerRow,
)
from db.visibility import visible
from regionmir.core.geometry import Box
from regionmir.core.identifiers import Uid
from regionmir.core.records import DetectedRegion, Disclosure, InstanceState, PatientValues

_PHOTOMETRIC = "00280004"


@dataclass(frozen=True, slots=True)
class ResultFilm:
    """An indexed film of a visible study, as far as results about it need it."""

    pk: int
    study_pk: int
    study_instance_uid: Uid
    sop_instance_uid: Uid
    storage_key: str
    received_at: dt.datetime
    date_shift_days: int
    """By how many days the patient's dates are moved for pseudonymous receivers."""
    is_grey: bool
    regions: tuple[DetectedRegion, ...]
    """What one model found in it."""
    corrected: PatientValues | None = None
    """Whose it is, where that is not what its object says."""

    def disclosed_uid(self, session: Session, disclosure: Disclosure) -> Uid:
        """Return its SOP Instance UID, or the pseudonym of it."""
        if disclosure is Disclosure.IDENTIFIED:
            return self.sop_instance_uid
        found = pseudonyms.for_originals(session, pseudonyms.INSTANCE, [self.sop_instance_uid])
        return Uid(found[self.sop_instance_uid])


def get(session: Session, instance_pk: int, model_pk: int) -> ResultFilm | None:
    """Return one film, None where it is not indexed or its study is hidden."""
    found = _films(session, InstanceRow.pk == instance_pk, model_pk)
    return found[0] if found else None


def is_waiting(session: Session, instance_pk: int) -> bool:
    """Return whether an instance waits for a worker, or one is at it."""
    waiting = (InstanceState.RECEIVED, InstanceState.INDEXING)
    found = session.scalar(select(InstanceRow.state).where(InstanceRow.pk == instance_pk))
    return found in waiting


def of_instances(session: Session, instance_pks: Collection[int], model_pk: int) -> list[ResultFilm]:
    """Return those of these instances that are such films, by their numbers."""
    return _films(session, InstanceRow.pk.in_(list(instance_pks)), model_pk) if instance_pks else []


def of_studies(session: Session, study_pks: Collection[int], model_pk: int) -> list[ResultFilm]:
    """Return the films of these studies by their numbers."""
    return _films(session, StudyRow.pk.in_(list(study_pks)), model_pk) if study_pks else []


def regions_of_hits(
    session: Session, instance_pks: Sequence[int], model_pk: int, anatomy_pk: int
) -> dict[int, tuple[str, Box]]:
    """Return the storage key of each of these instances, and the box of the anatomy in stored pixels, by key."""
    row = RegionRow
    query = (
        select(InstanceRow.pk, InstanceRow.storage_key, row.x0, row.y0, row.x1, row.y1)
        .join(InstanceRow, InstanceRow.pk == row.instance_pk)
        .where(row.instance_pk.in_(list(instance_pks)), row.model_pk == model_pk, row.anatomy_pk == anatomy_pk)
    )
    return {pk: (key, Box(*corners)) for pk, key, *corners in session.execute(query)}


def asked_by_sending(session: Session, instance_pks: Collection[int]) -> set[int]:
    """Return which of these films were sent to a region and answered: their reports come with the answers."""
    row = WantedAnswerRow
    query = select(row.anchor_instance_pk).where(
        row.anchor_instance_pk.in_(list(instance_pks)), row.way == "A", row.state == "answered"
    )
    return {pk for pk in session.scalars(query) if pk is not None}


def told_by_another(session: Session, study_pk: int, model_pk: int, destination: str) -> set[int]:
    """Return the films that the destination has results of from another model, made when the study was complete."""
    row, results = DeliveryRow, StudyResultsRow
    query = (
        select(row.instance_pk)
        .join(InstanceRow, InstanceRow.pk == row.instance_pk)
        .join(results, (results.study_pk == row.study_pk) & (results.model_pk == row.model_pk))
        .where(row.study_pk == study_pk, row.model_pk != model_pk, row.destination == destination)
        .where(results.made_at >= InstanceRow.indexed_at)
    )
    return {pk for pk in session.scalars(query) if pk is not None}


def _films(session: Session, which: ColumnElement[bool], model_pk: int) -> list[ResultFilm]:
    row = InstanceRow
    query = (
        select(
            row.pk,
            StudyRow.pk,
            StudyRow.study_instance_uid,
            row.sop_instance_uid,
            row.storage_key,
            row.received_at,
            PatientRow.date_shift_days,
            row.attributes[_PHOTOMETRIC],
            PatientRow.patient_id,
            *corrected.COLUMNS,
        )
        .join(SeriesRow, SeriesRow.pk == row.series_pk)
        .join(StudyRow, StudyRow.pk == SeriesRow.study_pk)
        .join(PatientRow, PatientRow.pk == StudyRow.patient_pk)
        .where(which, row.state == InstanceState.INDEXED, visible())
        .order_by(SeriesRow.series_number, SeriesRow.pk, row.instance_number, row.pk)
    )
    found: list[Any] = list(session.execute(query))
    filed = regions_.of_instances(session, [film[0] for film in found], model_pk)
    return [
        ResultFilm(
            pk,
            study_pk,
            Uid(study),
            Uid(sop),
            key,
            received_at,
            shift,
            _is_grey(photometric),
            tuple(one.region for one in filed if one.instance_pk == pk),
            corrected.values_of(patient_id, *values),
        )
        for pk, study_pk, study, sop, key, received_at, shift, photometric, patient_id, *values in found
    ]


def _is_grey(element: Any) -> bool:
    values = element.get("Value") if isinstance(element, dict) else None
    return isinstance(values, list) and bool(values) and str(values[0]).startswith("MONOCHROME")
