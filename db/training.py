"""Indexed instances with what an export for training needs: pseudonyms, labels' keys, pixels' hash, regions."""

from dataclasses import dataclass

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from db.browse import BrowsedInstance, instances_by_pk
from db.pseudonyms import PATIENT
from db.tables import InstanceRow, PatientRow, PseudonymRow, SeriesRow, StudyRow
from db.visibility import visible
from regionmir.core.records import InstanceState


@dataclass(frozen=True, slots=True)
class IndexedInstance:
    """One instance by pseudonyms, with its regions of one model.

    `sop_instance_uid` and `accession_number` are the original ones: for joining labels, never to be written out.
    """

    instance: BrowsedInstance
    patient: str
    """Pseudonym."""
    sop_instance_uid: str
    accession_number: str
    pixel_sha256: str


def count_indexed(session: Session) -> int:
    """Return how many instances of visible studies are indexed."""
    row = InstanceRow
    query = select(func.count()).select_from(row).join(SeriesRow, SeriesRow.pk == row.series_pk)
    query = query.join(StudyRow, StudyRow.pk == SeriesRow.study_pk)
    return session.scalar(query.where(row.state == InstanceState.INDEXED, visible())) or 0


def indexed_page(session: Session, model_pk: int, *, after: int, limit: int) -> list[IndexedInstance]:
    """Return up to `limit` indexed instances of visible studies with keys of ours above `after`, in their order."""
    row, pseudonym = InstanceRow, PseudonymRow
    query = (
        select(row.pk, pseudonym.pseudonym, row.sop_instance_uid, StudyRow.accession_number, row.pixel_sha256)
        .join(SeriesRow, SeriesRow.pk == row.series_pk)
        .join(StudyRow, StudyRow.pk == SeriesRow.study_pk)
        .join(PatientRow, PatientRow.pk == StudyRow.patient_pk)
        .join(pseudonym, and_(pseudonym.kind == PATIENT, pseudonym.original == PatientRow.key))
        .where(row.state == InstanceState.INDEXED, row.pk > after, visible())
        .order_by(row.pk)
        .limit(limit)
    )
    lines = list(session.execute(query))
    browsed = instances_by_pk(session, [line[0] for line in lines], model_pk=model_pk)
    return [
        IndexedInstance(browsed[pk], patient, sop_instance_uid, accession_number, pixel_sha256 or "")
        for pk, patient, sop_instance_uid, accession_number, pixel_sha256 in lines
    ]
