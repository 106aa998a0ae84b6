"""Which studies may be in answers: the one place that says so. A hidden study keeps its rows and objects.

Every statement that answers somebody outside, whatever the way in, takes its condition from here.
"""

from typing import Any

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from db.filing import clean
from db.tables import StudyRow


def visible(study: Any = StudyRow) -> ColumnElement[bool]:
    """Return the condition that the study of a joined row (or of an alias of it) is not hidden."""
    return study.hidden_at.is_(None)  # type: ignore[no-any-return]


def of_visible_study(study_pk: Any) -> ColumnElement[bool]:
    """Return the condition that a column names no hidden study, where table `study` is not joined.

    Few are hidden: their keys are read once per statement, from an index of their own.
    """
    return study_pk.not_in(select(StudyRow.pk).where(StudyRow.hidden_at.is_not(None)))  # type: ignore[no-any-return]


def hide(session: Session, study_instance_uids: list[str], why: str) -> int:
    """Take studies out of every answer at once; return how many were visible."""
    row = StudyRow
    statement = (
        update(row)
        .where(row.study_instance_uid.in_(study_instance_uids), row.hidden_at.is_(None))
        .values(hidden_at=func.now(), hidden_why=clean(why))
    )
    return int(session.execute(statement).rowcount)  # type: ignore[attr-defined]


def show(session: Session, study_instance_uids: list[str]) -> int:
    """Let studies be in answers again; return how many were hidden."""
    row = StudyRow
    statement = (
        update(row)
        .where(row.study_instance_uid.in_(study_instance_uids), row.hidden_at.is_not(None))
        .values(hidden_at=None, hidden_why="")
    )
    return int(session.execute(statement).rowcount)  # type: ignore[attr-defined]


def count_hidden(session: Session) -> int:
    """Return how many studies are hidden."""
    return session.scalar(select(func.count()).select_from(StudyRow).where(StudyRow.hidden_at.is_not(None))) or 0
