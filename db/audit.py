"""The audit trail: what must be answerable for later. It only grows; the database itself refuses anything else."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, insert, or_, select
from sqlalchemy.orm import Session

from db.filing import clean
from db.tables import AuditEventRow
from regionmir.core.audit_events import of_kind
from regionmir.core.audit_message import AuditMessage, to_xml

SOURCE_KEY = "audit_source"
"""Key in `Session.info` of the AuditSourceID: which process on which machine reports (see `db.engine`)."""

_RECORD = insert(AuditEventRow.__table__).inline()  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One recorded event; `message` is empty or a DICOM audit message (XML)."""

    at: dt.datetime
    kind: str
    actor: str
    address: str
    detail: dict[str, Any]
    message: str = ""


def record(
    session: Session,
    kind: str,
    *,
    actor: str,
    address: str,
    detail: dict[str, Any],
    message: AuditMessage | None = None,
) -> None:
    """Record an event in the transaction of `session`: it is kept if, and only if, what it tells of happened.

    Without `message`, kinds that are a Security Alert get theirs. Commit before what it tells of is shown to anybody:
    the commit fails where the event cannot be chained.
    """
    told = message or of_kind(kind, actor, address, detail)
    source = session.info.get(SOURCE_KEY, "regionmir")
    values = {
        "kind": kind,
        "actor": clean(actor),
        "address": clean(address),
        "detail": clean(detail),
        "message": clean(to_xml(told, source=source, at=dt.datetime.now(dt.UTC))) if told else "",
    }
    session.execute(_RECORD, values)


def listing(session: Session, *, kinds: Sequence[str] = (), limit: int = 100) -> list[AuditEvent]:
    """Return the newest events, newest first, all kinds if none is named."""
    row = AuditEventRow
    query = (
        select(row.at, row.kind, row.actor, row.address, row.detail, row.message).order_by(row.pk.desc()).limit(limit)
    )
    if kinds:
        query = query.where(row.kind.in_(kinds))
    return [AuditEvent(*found) for found in session.execute(query)]


def failures(
    session: Session, *, failed: str, succeeded: str, actor: str, address: str, within_s: float
) -> tuple[int, int, int]:
    """Return how many events of kind `failed` there were lately of this actor from this address since they last
    `succeeded`, of any actor from this address, and of this actor from anywhere."""
    row = AuditEventRow
    theirs = (row.actor == actor) & (row.address == address)
    last = select(func.coalesce(func.max(row.pk), 0)).where(row.kind == succeeded, theirs).scalar_subquery()
    query = select(
        func.count().filter(theirs, row.pk > last),
        func.count().filter(row.address == address),
        func.count().filter(row.actor == actor),
    ).where(row.kind == failed, row.at > func.now() - dt.timedelta(seconds=within_s))
    query = query.where(or_(row.actor == actor, row.address == address))
    both, of_address, of_actor = session.execute(query).one()
    return both, of_address, of_actor
