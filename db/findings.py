"""Findings of studies, as a report, a reader or a classifier named them: what hits can be filtered by."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from db.filing import clean
from db.tables import FindingRow, StudyRow
from db.visibility import of_visible_study

MAX_LABEL = 64


@dataclass(frozen=True, slots=True)
class Named:
    """A finding as a source names it; `confidence` 0..1, None where the source does not say."""

    label: str
    confidence: float | None = None


def replace(session: Session, study_instance_uid: str, named: Collection[Named], source: str = "") -> bool:
    """Give a study these findings in place of those that the same source gave it; False if there is no such study."""
    study_pk = session.scalar(select(StudyRow.pk).where(StudyRow.study_instance_uid == study_instance_uid))
    if study_pk is None:
        return False
    source = clean(source.strip())[:MAX_LABEL]
    session.execute(delete(FindingRow).where(FindingRow.study_pk == study_pk, FindingRow.source == source))
    kept = {clean(one.label.strip().lower())[:MAX_LABEL]: one.confidence for one in named}
    lines = [
        {"study_pk": study_pk, "label": label, "source": source, "confidence": confidence}
        for label, confidence in sorted(kept.items())
        if label
    ]
    if lines:
        session.execute(insert(FindingRow), lines)
    return True


def labels(session: Session, limit: int = 100) -> list[str]:
    """Return the labels that are in use, the commonest first."""
    row = FindingRow
    query = select(row.label).where(of_visible_study(row.study_pk)).group_by(row.label)
    studies = func.count(row.study_pk.distinct())
    return list(session.scalars(query.order_by(studies.desc(), row.label).limit(limit)))


def of_studies(session: Session, study_pks: Collection[int]) -> dict[int, tuple[str, ...]]:
    """Return the findings of these studies; a study without any is left out."""
    row = FindingRow
    found: dict[int, tuple[str, ...]] = {}
    query = select(row.study_pk, row.label).distinct().where(row.study_pk.in_(list(study_pks)))
    for study_pk, label in session.execute(query.order_by(row.study_pk, row.label)):
        found[study_pk] = (*found.get(study_pk, ()), label)
    return found
