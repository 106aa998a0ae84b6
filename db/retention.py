"""Which objects the rules say to reduce or remove, and their rows once that is done. Regions and embeddings stay.

Nothing is touched before its work is done: the instance is in a final state, and no result of its study waits.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, case, delete, func, literal, or_, select, update
from sqlalchemy.orm import Session

from db import removals
from db.tables import (
    DeliveryRow,
    DrawnBoxRow,
    InstanceRow,
    InstanceVersionRow,
    PatientRow,
    PeerRow,
    QueryLogRow,
    SeriesRow,
    StudyRow,
    WantedAnswerRow,
)
from regionmir.core.identifiers import Uid
from regionmir.core.keeping import Kept, StoragePolicy
from regionmir.core.records import InstanceState, StoredObject

_WORKED_ON: Final = (InstanceState.INDEXED, InstanceState.UNSUPPORTED)
_FINAL: Final = (*_WORKED_ON, InstanceState.FAILED)


class Rule(StrEnum):
    """Why an object is reduced or removed."""

    POLICY = "storage policy"
    AGE = "older than its AE's days"
    HIDDEN = "deleted from its PACS"
    VERSION = "replaced by another version"


@dataclass(frozen=True, slots=True)
class Terms:
    """The rules, as the settings say them; days 0: never. An AE may have a policy and days of its own."""

    storage: StoragePolicy = StoragePolicy.KEEP
    days: int = 0
    hidden_days: int = 0
    versions_days: int = 0
    query_log_days: int = 0
    settle_s: float = 3600.0
    """No object is touched that came less than so long ago."""


@dataclass(frozen=True, slots=True)
class Due:
    """One object that a rule speaks of. `to`: what is kept of it afterwards."""

    pk: int
    sop_instance_uid: Uid
    sop_class_uid: Uid
    study_pk: int
    study_instance_uid: Uid
    patient_id: str
    storage_key: str
    size_bytes: int
    kept: Kept
    to: Kept
    rule: Rule
    source_ae: str


def due(session: Session, terms: Terms, *, after: tuple[int, int] = (0, 0), limit: int = 500) -> list[Due]:
    """Return current objects that a rule speaks of, study by study, behind (study, instance) `after`."""
    row = InstanceRow
    to, rule = _outcome(terms)
    query: Any = (
        _of_instances(to, rule)
        .where(
            row.state.in_(_FINAL),
            row.received_at < _before(seconds=terms.settle_s),
            or_(*_conditions(terms)),
            ~_results_wait(),
            or_(StudyRow.pk > after[0], and_(StudyRow.pk == after[0], row.pk > after[1])),
        )
        .order_by(StudyRow.pk, row.pk)
        .limit(limit)
    )
    return [_due(line) for line in session.execute(query)]


def due_versions(session: Session, terms: Terms, *, after: int = 0, limit: int = 500) -> list[Due]:
    """Return objects of versions that were replaced, or refused and settled since, behind the key `after`."""
    row = InstanceVersionRow
    if not terms.versions_days:
        return []
    query: Any = (
        select(
            row.pk,
            row.sop_instance_uid,
            literal(""),
            literal(0),
            row.study_instance_uid,
            func.coalesce(PatientRow.patient_id, ""),
            row.storage_key,
            row.size_bytes,
            row.kept,
            literal(Kept.NOTHING.value),
            literal(Rule.VERSION.value),
            row.source_ae,
        )
        .outerjoin(StudyRow, StudyRow.study_instance_uid == row.study_instance_uid)
        .outerjoin(PatientRow, PatientRow.pk == StudyRow.patient_pk)
        .where(
            row.pk > after,
            row.kept != Kept.NOTHING,
            or_(row.kind == "superseded", row.resolved_at.is_not(None)),
            func.coalesce(row.resolved_at, row.received_at) < _before(days=terms.versions_days),
        )
        .order_by(row.pk)
        .limit(limit)
    )
    return [_due(line) for line in session.execute(query)]


def reduce(session: Session, one: Due, stored: StoredObject | None, content_sha256: str | None = None) -> bool:
    """Note what is kept of an object now; `stored`: its reduced copy. The old one is removed later.

    `content_sha256`: by which an instance is known again in another transfer syntax, None where that is known already
    or cannot be. False where it is no longer what it was, so that nothing was changed.
    """
    row = InstanceVersionRow if one.rule is Rule.VERSION else InstanceRow
    values: dict[str, Any] = {"kept": one.to}
    if stored is not None:
        values |= {"storage_key": stored.key, "size_bytes": stored.size_bytes}
    if content_sha256 is not None:
        values["content_sha256"] = content_sha256
    unchanged = [row.pk == one.pk, row.storage_key == one.storage_key, row.kept == one.kept]
    if row is InstanceRow:
        unchanged.append(InstanceRow.state.in_(_FINAL))
    changed = session.execute(update(row).where(*unchanged).values(**values)).rowcount  # type: ignore[attr-defined]
    if changed:
        removals.ask(session, [one.storage_key])
    return bool(changed)


def forget_queries(session: Session, days: int) -> int:
    """Delete what was asked before so many days, and return how many queries that were; 0 days: none."""
    if not days:
        return 0
    statement = delete(QueryLogRow).where(QueryLogRow.asked_at < _before(days=days))
    return int(session.execute(statement).rowcount)  # type: ignore[attr-defined]


def count_queries(session: Session, days: int) -> int:
    """Return how many queries `forget_queries` would delete."""
    if not days:
        return 0
    query = select(func.count()).select_from(QueryLogRow).where(QueryLogRow.asked_at < _before(days=days))
    return session.execute(query).scalar_one()


def held(session: Session) -> dict[str, dict[str, int]]:
    """Return for each AE how many instances it sent are kept as objects, reduced, and not at all."""
    row = InstanceRow
    found: dict[str, dict[str, int]] = {}
    query = select(row.source_ae, row.kept, func.count()).group_by(row.source_ae, row.kept)
    for source, kept, count in session.execute(query):
        found.setdefault(source, {one.value: 0 for one in Kept})[kept] = count
    return found


def _of_instances(to: ColumnElement[str], rule: ColumnElement[str]) -> Any:
    row = InstanceRow
    return (
        select(
            row.pk,
            row.sop_instance_uid,
            row.sop_class_uid,
            StudyRow.pk,
            StudyRow.study_instance_uid,
            PatientRow.patient_id,
            row.storage_key,
            row.size_bytes,
            row.kept,
            to,
            rule,
            row.source_ae,
        )
        .join(SeriesRow, SeriesRow.pk == row.series_pk)
        .join(StudyRow, StudyRow.pk == SeriesRow.study_pk)
        .join(PatientRow, PatientRow.pk == StudyRow.patient_pk)
        .outerjoin(PeerRow, PeerRow.ae_title == row.source_ae)
    )


def _conditions(terms: Terms) -> Sequence[ColumnElement[bool]]:
    """Return when an object is to be removed or reduced; each rule passes over what it has been applied to."""
    there = InstanceRow.kept != Kept.NOTHING
    policy = _policy(terms)
    worked_on = InstanceRow.state.in_(_WORKED_ON)
    return (
        there & _too_old(terms),
        there & _hidden(terms),
        there & worked_on & (policy == StoragePolicy.REGIONS),
        (InstanceRow.kept == Kept.OBJECT) & worked_on & (policy == StoragePolicy.REDUCED),
    )


def _outcome(terms: Terms) -> tuple[ColumnElement[str], ColumnElement[str]]:
    """Return what is kept, and by which rule; one that removes comes before one that reduces."""
    removed = _too_old(terms) | _hidden(terms) | (_policy(terms) == StoragePolicy.REGIONS)
    to = case((removed, Kept.NOTHING.value), else_=Kept.REDUCED.value)
    rule = case((_hidden(terms), Rule.HIDDEN.value), (_too_old(terms), Rule.AGE.value), else_=Rule.POLICY.value)
    return to, rule


def _policy(terms: Terms) -> ColumnElement[str]:
    return func.coalesce(PeerRow.storage, terms.storage.value)


def _too_old(terms: Terms) -> ColumnElement[bool]:
    days = func.coalesce(PeerRow.keep_days, terms.days)
    return (days > 0) & (InstanceRow.received_at < func.now() - func.make_interval(0, 0, 0, days))


def _hidden(terms: Terms) -> ColumnElement[bool]:
    if not terms.hidden_days:
        return literal(False)
    return StudyRow.hidden_at.is_not(None) & (StudyRow.hidden_at < _before(days=terms.hidden_days))


def _results_wait() -> ColumnElement[bool]:
    """True where something is still to be made of the study's objects."""
    sending = select(DeliveryRow.pk).where(
        DeliveryRow.study_pk == StudyRow.pk, DeliveryRow.state.in_(("waiting", "sending"))
    )
    asked = select(WantedAnswerRow.pk).where(
        WantedAnswerRow.state.in_(("unread", "waiting")),
        or_(WantedAnswerRow.instance_pk == InstanceRow.pk, WantedAnswerRow.anchor_instance_pk == InstanceRow.pk),
    )
    drawn = select(DrawnBoxRow.pk).where(
        DrawnBoxRow.instance_pk == InstanceRow.pk, DrawnBoxRow.state.in_(("waiting", "embedding"))
    )
    return or_(sending.exists(), asked.exists(), drawn.exists())


def _before(**ago: float) -> ColumnElement[dt.datetime]:
    return func.now() - dt.timedelta(**ago)


def _due(line: Any) -> Due:
    pk, uid, sop_class, study_pk, study, patient, key, size, kept, to, rule, source = line
    names = (Uid(uid), Uid(sop_class), study_pk, Uid(study), patient)
    return Due(pk, *names, key, size, Kept(kept), Kept(to), Rule(rule), source)
