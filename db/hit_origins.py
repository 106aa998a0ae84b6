"""Whose a hit is: read only for those who may know, after it was audited (`regionmir.query.resolving`)."""

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.tables import InstanceRow, PatientRow, SeriesRow, StudyRow
from db.visibility import visible


@dataclass(frozen=True, slots=True)
class HitOrigin:
    """The original identity of a hit, as received."""

    patient_id: str
    issuer: str
    patient_name: str
    study_instance_uid: str
    accession_number: str
    study_date: dt.date | None
    series_instance_uid: str
    sop_instance_uid: str
    source_ae: str


def origin_of(session: Session, instance_pk: int) -> HitOrigin | None:
    """Return whose instance this is, None where its study is hidden."""
    query = (
        select(
            PatientRow.patient_id,
            PatientRow.issuer,
            PatientRow.name,
            StudyRow.study_instance_uid,
            StudyRow.accession_number,
            StudyRow.study_date,
            SeriesRow.series_instance_uid,
            InstanceRow.sop_instance_uid,
            InstanceRow.source_ae,
        )
        .select_from(InstanceRow)
        .join(SeriesRow, SeriesRow.pk == InstanceRow.series_pk)
        .join(StudyRow, StudyRow.pk == SeriesRow.study_pk)
        .join(PatientRow, PatientRow.pk == StudyRow.patient_pk)
        .where(InstanceRow.pk == instance_pk, visible())
    )
    found = session.execute(query).first()
    return None if found is None else HitOrigin(*found)
