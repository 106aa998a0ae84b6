"""Whose an instance is, where that was corrected after its object came: read beside what is sent."""

import datetime as dt
from typing import Any, Final

from sqlalchemy import func

from db.tables import PatientRow, StudyRow
from regionmir.core.records import PatientValues

COLUMNS: Final[tuple[Any, ...]] = (
    PatientRow.issuer,
    PatientRow.name,
    PatientRow.birth_date,
    PatientRow.sex,
    PatientRow.corrected_at,
    func.cardinality(StudyRow.known_as),
)
"""Columns of joined patient and study that `values_of` needs beside the PatientID."""


def values_of(
    patient_id: str,
    issuer: str,
    name: str,
    birth_date: dt.date | None,
    sex: str,
    corrected_at: dt.datetime | None,
    former: int,
) -> PatientValues | None:
    """Return the patient's values, None where the patient was not corrected and the study was never another's."""
    if corrected_at is None and not former:
        return None
    return PatientValues(patient_id, issuer, name, birth_date, sex)
