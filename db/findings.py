"""Findings of studies, as a report or a reader named them: what hits can be filtered by."""

from collections.abc import Collection

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from db.filing import clean
from db.tables import FindingRow, StudyRow
from db.visibility import of_visible_study

MAX_LABEL = 64


def replace(session: Session, study_instance_uid: str, labels: Collection[str]) -> bool:
    """Give a study these findings in place of those that it had; False where there is no such study."""
    study_pk = session.scalar(select(StudyRow.pk).where(StudyRow.study_instance_uid == study_instance_uid))
    if study_pk is None:
        return False
    session.execute(delete(FindingRow).where(FindingRow.study_pk == study_pk))
    kept = {clean(label.strip().lower())[:MAX_LABEL] for label in labels} - {""}
    if kept:
        session.execute(insert(FindingRow), [{"study_pk": study_pk, "label": label} for label in sorted(kept)])
    return True


def labels(session: Session, limit: int = 100) -> list[str]:
    """Return the labels that are in use, the commonest first."""
    row = FindingRow
    query = select(row.label).where(of_visible_study(row.study_pk)).group_by(row.label)
    return list(session.scalars(query.order_by(func.count().desc(), row.label).limit(limit)))


def of_studies(session: Session, study_pks: Collection[int]) -> dict[int, tuple[str, ...]]:
    """Return the findings of these studies; a study without any is left out."""
    row = FindingRow
    found: dict[int, tuple[str, ...]] = {}
    query = select(row.study_pk, row.label).where(row.study_pk.in_(list(study_pks))).order_by(row.study_pk, row.label)
    for study_pk, label in session.execute(query):
        found[study_pk] = (*found.get(study_pk, ()), label)
    return found
