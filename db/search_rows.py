"""The values of many hits in one query, originals beside pseudonyms: what may leave, `disclosure` decides."""

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from db import pseudonyms
from db.tables import InstanceRow, PatientRow, PseudonymRow, SeriesRow, StudyRow
from db.visibility import of_visible_study, visible
from regionmir.core.identifiers import Uid


@dataclass(frozen=True, slots=True)
class StudyValues:
    """A study and its patient, with their pseudonyms."""

    study_pk: int
    patient_pk: int
    study_instance_uid: Uid
    study_pseudonym: Uid
    patient_id: str
    issuer: str
    patient_pseudonym: str
    name: str
    birth_date: dt.date | None
    sex: str
    date_shift_days: int
    study_date: dt.date | None
    study_time: str
    accession_number: str
    study_id: str
    study_description: str
    referring_physician: str
    attributes: dict[str, Any]
    received_at: dt.datetime


@dataclass(frozen=True, slots=True)
class InstanceValues:
    """An instance and its series, with their pseudonyms."""

    instance_pk: int
    study_pk: int
    sop_instance_uid: Uid
    instance_pseudonym: Uid
    series_instance_uid: Uid
    series_pseudonym: Uid
    sop_class_uid: Uid
    transfer_syntax_uid: Uid
    modality: str
    series_number: int | None
    instance_number: int | None
    view: str
    age_years: float | None
    rows: int | None
    columns: int | None
    storage_key: str


def studies(session: Session, study_pks: Collection[int]) -> dict[int, StudyValues]:
    """Return the values of these studies by key."""
    of_study, of_patient = aliased(PseudonymRow), aliased(PseudonymRow)
    query = (
        select(
            StudyRow.pk.label("study_pk"),
            PatientRow.pk.label("patient_pk"),
            StudyRow.study_instance_uid,
            of_study.pseudonym.label("study_pseudonym"),
            PatientRow.patient_id,
            PatientRow.issuer,
            of_patient.pseudonym.label("patient_pseudonym"),
            PatientRow.name,
            PatientRow.birth_date,
            PatientRow.sex,
            PatientRow.date_shift_days,
            StudyRow.study_date,
            StudyRow.study_time,
            StudyRow.accession_number,
            StudyRow.study_id,
            StudyRow.study_description,
            StudyRow.referring_physician,
            StudyRow.attributes,
            StudyRow.received_at,
        )
        .join(PatientRow, PatientRow.pk == StudyRow.patient_pk)
        .join(of_study, (of_study.kind == pseudonyms.STUDY) & (of_study.original == StudyRow.study_instance_uid))
        .join(of_patient, (of_patient.kind == pseudonyms.PATIENT) & (of_patient.original == PatientRow.key))
        .where(StudyRow.pk.in_(list(study_pks)), visible())
    )
    return {line["study_pk"]: StudyValues(**line) for line in session.execute(query).mappings()}


def instances(session: Session, instance_pks: Collection[int]) -> dict[int, InstanceValues]:
    """Return the values of these instances by key."""
    of_instance, of_series = aliased(PseudonymRow), aliased(PseudonymRow)
    query = (
        select(
            InstanceRow.pk.label("instance_pk"),
            SeriesRow.study_pk,
            InstanceRow.sop_instance_uid,
            of_instance.pseudonym.label("instance_pseudonym"),
            SeriesRow.series_instance_uid,
            of_series.pseudonym.label("series_pseudonym"),
            InstanceRow.sop_class_uid,
            InstanceRow.transfer_syntax_uid,
            SeriesRow.modality,
            SeriesRow.series_number,
            InstanceRow.instance_number,
            InstanceRow.view,
            InstanceRow.age_years,
            InstanceRow.rows,
            InstanceRow.columns,
            InstanceRow.storage_key,
        )
        .join(SeriesRow, SeriesRow.pk == InstanceRow.series_pk)
        .join(
            of_instance,
            (of_instance.kind == pseudonyms.INSTANCE) & (of_instance.original == InstanceRow.sop_instance_uid),
        )
        .join(of_series, (of_series.kind == pseudonyms.SERIES) & (of_series.original == SeriesRow.series_instance_uid))
        .where(InstanceRow.pk.in_(list(instance_pks)), of_visible_study(SeriesRow.study_pk))
    )
    return {line["instance_pk"]: InstanceValues(**line) for line in session.execute(query).mappings()}
