"""Instances: filed, worked on under a lease, listed.

State machine: received -> indexing -> indexed | unsupported | failed; `reindex` and corrections go back to received.
An owner holds what it claimed until `lease_until`; what it finishes after losing the lease is refused.
"""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    RowMapping,
    Select,
    Text,
    column,
    func,
    or_,
    select,
    update,
    values,
)
from sqlalchemy.orm import Session

from db import analyses, in_order
from db import regions as regions_
from db.clock import expired_lease
from db.filing import clean
from db.ingest import Receipt, receive
from db.regions import FiledRegion
from db.tables import InstanceRow, InstanceVersionRow, SeriesRow, StudyRow
from regionmir.core.identifiers import Uid
from regionmir.core.keeping import Kept
from regionmir.core.records import EmbeddedRegion, InstanceState

__all__ = [
    "ClaimedInstance",
    "Conflict",
    "IndexedFilm",
    "InstanceDetail",
    "InstanceSummary",
    "Receipt",
    "claim",
    "conflicts",
    "counts_by_state",
    "detail",
    "finish_failed",
    "finish_indexed",
    "finish_unsupported",
    "listing",
    "present",
    "receive",
    "reindex",
    "release",
    "renew",
    "requeue_expired",
    "total_bytes",
    "waiting",
]

MAX_ATTEMPTS = 5
MAX_REASON = 200


@dataclass(frozen=True, slots=True)
class ClaimedInstance:
    """An instance that a worker holds under a lease."""

    pk: int
    sop_instance_uid: Uid
    sop_class_uid: Uid
    modality: str
    storage_key: str
    transfer_syntax_uid: Uid
    source_ae: str
    attempts: int
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class IndexedFilm:
    """What a worker found in an instance that it holds. An empty `view` leaves the one of the header."""

    claimed: ClaimedInstance
    regions: Sequence[EmbeddedRegion]
    pixel_sha256: str
    pipeline_hash: str
    view: str = ""


@dataclass(frozen=True, slots=True)
class InstanceSummary:
    """One line of a list of instances."""

    pk: int
    sop_instance_uid: Uid
    study_instance_uid: Uid
    series_instance_uid: Uid
    modality: str
    state: InstanceState
    reason: str
    view: str
    source_ae: str
    received_at: dt.datetime
    indexed_at: dt.datetime | None
    attempts: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class InstanceDetail:
    """All that is known of one instance, with its regions of every model."""

    summary: InstanceSummary
    sop_class_uid: Uid
    transfer_syntax_uid: Uid
    storage_key: str
    sha256: str
    rows: int | None
    columns: int | None
    regions: tuple[FiledRegion, ...]
    versions: tuple["Conflict", ...]
    """Versions that are not the current one, superseded and in conflict."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """A version of an instance that was replaced, or refused because its sender may not correct."""

    pk: int
    sop_instance_uid: Uid
    study_instance_uid: Uid
    kind: str
    comment: str
    storage_key: str
    sha256: str
    source_ae: str
    received_at: dt.datetime
    resolved_at: dt.datetime | None


def claim(session: Session, owner: str, limit: int, lease_s: float) -> list[ClaimedInstance]:
    """Take up to `limit` waiting instances, oldest first, for `lease_s` seconds; rows that others take are skipped."""
    row = InstanceRow
    chosen = (
        select(row.pk)
        .where(row.state == InstanceState.RECEIVED)
        .order_by(row.received_at, row.pk)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("chosen")
    )
    taken = (
        update(row)
        .where(row.pk == chosen.c.pk, SeriesRow.pk == row.series_pk)
        .values(
            state=InstanceState.INDEXING,
            attempts=row.attempts + 1,
            lease_owner=owner,
            lease_until=_in_seconds(lease_s),
        )
        .returning(
            row.received_at,
            row.pk,
            row.sop_instance_uid,
            row.sop_class_uid,
            SeriesRow.modality,
            row.storage_key,
            row.transfer_syntax_uid,
            row.source_ae,
            row.attempts,
            row.attributes,
        )
    )
    found = sorted(session.execute(taken).mappings(), key=lambda line: (line["received_at"], line["pk"]))
    return [_claimed(line) for line in found]


def renew(session: Session, owner: str, lease_s: float) -> int:
    """Extend the leases of `owner`; return how many it holds."""
    row = InstanceRow
    held = row.state == InstanceState.INDEXING, row.lease_owner == owner
    return _count(session, in_order.updating(*held).values(lease_until=_in_seconds(lease_s)))


def release(session: Session, owner: str, pks: Sequence[int]) -> int:
    """Give instances back unworked (they wait again, the attempt does not count); return how many."""
    row = InstanceRow
    held = row.pk.in_(list(pks)), row.state == InstanceState.INDEXING, row.lease_owner == owner
    values = _waiting_again(attempts=func.greatest(row.attempts - 1, 0))
    return _count(session, in_order.updating(*held).values(**values))


def finish_indexed(session: Session, films: Sequence[IndexedFilm], *, owner: str, model_pk: int) -> set[int]:
    """File the regions of instances, replacing those of the same model; return the keys of those still held by `owner`.

    The others, whose lease was lost or that were corrected meanwhile, are left as they are. Where the model was retired
    meanwhile all of them wait again, for the one that answers now.
    """
    if not analyses.hold(session, model_pk):
        release(session, owner, [film.claimed.pk for film in films])
        return set()
    held = _held(session, films, owner)
    if not held:
        return set()
    _mark_indexed(session, held)
    pks = [film.claimed.pk for film in held]
    regions_.replace(session, model_pk, {film.claimed.pk: film.regions for film in held})
    analyses.record(session, pks, model_pk, InstanceState.INDEXED)
    return set(pks)


def finish_unsupported(
    session: Session, claimed: ClaimedInstance, *, owner: str, reason: str, model_pk: int | None = None
) -> bool:
    """Mark an instance as one that is never indexed, and drop regions of earlier runs; False if the lease was lost.

    `model_pk`: only this generation judges so, others look for themselves; None: whatever the model. Where it was
    retired meanwhile the instance waits again.
    """
    if model_pk is not None and not analyses.hold(session, model_pk):
        release(session, owner, [claimed.pk])
        return False
    if not _finish(session, claimed, owner, InstanceState.UNSUPPORTED, reason):
        return False
    regions_.drop(session, [claimed.pk], model_pk)
    if model_pk is not None:
        analyses.record(session, [claimed.pk], model_pk, InstanceState.UNSUPPORTED, reason)
    return True


def finish_failed(session: Session, claimed: ClaimedInstance, *, owner: str, reason: str) -> bool:
    """Mark an instance as failed (an operator may `reindex` it); False where the lease was lost."""
    return _finish(session, claimed, owner, InstanceState.FAILED, reason)


def requeue_expired(session: Session, lease_s: float | None = None) -> int:
    """Let instances wait again whose worker let its lease expire; return how many.

    With `lease_s`, how long leases last, also those that end later than any can: the clock was moved back since.

    One that did so in `MAX_ATTEMPTS` attempts is marked failed: it probably kills its worker.
    """
    row = InstanceRow
    expired = (
        select(row.pk)
        .where(row.state == InstanceState.INDEXING, expired_lease(row.lease_until, lease_s))
        .order_by(row.pk)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    hopeless = (
        update(row)
        .where(row.pk.in_(expired), row.attempts >= MAX_ATTEMPTS)
        .values(
            state=InstanceState.FAILED,
            reason=f"crashed the worker {MAX_ATTEMPTS} times",
            lease_owner=None,
            lease_until=None,
        )
    )
    session.execute(hopeless)
    return _count(session, update(row).where(row.pk.in_(expired)).values(**_waiting_again()))


def reindex(
    session: Session,
    *,
    uids: Collection[str] = (),
    state: InstanceState | None = None,
    everything: bool = False,
) -> int:
    """Let instances wait again: those named by SOP, Series or Study Instance UID, all in one state, or everything.

    Returns how many. Their regions stay until they are replaced. What is unsupported comes along only where it is
    named or is the state asked for; our own copies, what a worker holds now and what is no longer kept never do.
    """
    row = InstanceRow
    chosen: list[ColumnElement[bool]] = []
    if uids:
        chosen.append(_named(uids))
    if state is not None:
        chosen.append(row.state == state)
    if everything:
        chosen.append(row.state.in_((InstanceState.INDEXED, InstanceState.FAILED)))
    if not chosen:
        return 0
    again = in_order.updating(
        or_(*chosen),
        row.kept != Kept.NOTHING,
        row.state.not_in((InstanceState.RECEIVED, InstanceState.INDEXING)),
        row.reason != "own_copy",
    )
    return _count(session, again.values(**_waiting_again(attempts=0)))


def note_reduced(session: Session, sop_instance_uid: Uid, storage_key: str, content_sha256: str | None) -> None:
    """Note of an instance that has just been filed that what was filed is a reduced copy of it."""
    row = InstanceRow
    filed = update(row).where(row.sop_instance_uid == sop_instance_uid, row.storage_key == storage_key)
    session.execute(filed.values(kept=Kept.REDUCED, content_sha256=content_sha256))


def waiting(session: Session) -> int:
    """Return how many instances wait for a worker."""
    query = select(func.count()).select_from(InstanceRow).where(InstanceRow.state == InstanceState.RECEIVED)
    return int(session.scalar(query) or 0)


def present(session: Session, sop_instance_uids: Collection[str]) -> set[str]:
    """Return which of these instances are filed."""
    row = InstanceRow
    return set(session.scalars(select(row.sop_instance_uid).where(row.sop_instance_uid.in_(list(sop_instance_uids)))))


_COUNTS_BY_STATE = select(InstanceRow.state, func.count()).group_by(InstanceRow.state)


def counts_by_state(session: Session) -> dict[str, int]:
    """Return how many instances are in each state, all five of them."""
    found = session.execute(_COUNTS_BY_STATE)
    return {state.value: 0 for state in InstanceState} | dict(found.all())


def total_bytes(session: Session) -> int:
    """Return the size of all current instances."""
    return int(session.scalar(select(func.coalesce(func.sum(InstanceRow.size_bytes), 0))) or 0)


def listing(
    session: Session,
    *,
    state: InstanceState | None = None,
    reason: str | None = None,
    limit: int | None = None,
    after: int | None = None,
) -> list[InstanceSummary]:
    """Return instances in the order they were filed; `after` is the pk of the last one seen, for the next page."""
    query = _summaries().order_by(InstanceRow.pk)
    if state is not None:
        query = query.where(InstanceRow.state == state)
    if reason is not None:
        query = query.where(InstanceRow.reason == reason)
    if after is not None:
        query = query.where(InstanceRow.pk > after)
    return [_summary(line) for line in session.execute(query.limit(limit)).mappings()]


def detail(session: Session, sop_instance_uid: str) -> InstanceDetail | None:
    """Return everything about one instance, None if there is none of this UID."""
    found = session.execute(_summaries().where(InstanceRow.sop_instance_uid == sop_instance_uid)).mappings().first()
    if found is None:
        return None
    summary = _summary(found)
    row = session.get_one(InstanceRow, summary.pk)
    return InstanceDetail(
        summary,
        Uid(row.sop_class_uid),
        Uid(row.transfer_syntax_uid),
        row.storage_key,
        row.sha256,
        row.rows,
        row.columns,
        tuple(regions_.of_instances(session, [summary.pk])),
        tuple(_versions(session, InstanceVersionRow.sop_instance_uid == sop_instance_uid)),
    )


def conflicts(session: Session) -> list[Conflict]:
    """Return the versions that were refused and are not settled, oldest first."""
    row = InstanceVersionRow
    return _versions(session, (row.kind == "conflict") & row.resolved_at.is_(None))


def _in_seconds(seconds: float) -> ColumnElement[dt.datetime]:
    return func.now() + dt.timedelta(seconds=seconds)


def _waiting_again(**values: Any) -> dict[str, Any]:
    return {"state": InstanceState.RECEIVED, "reason": "", "lease_owner": None, "lease_until": None, **values}


def _count(session: Session, statement: Any) -> int:
    return int(session.execute(statement).rowcount)  # type: ignore[attr-defined]


def _held(session: Session, films: Sequence[IndexedFilm], owner: str) -> list[IndexedFilm]:
    """Lock the instances of these films, in the order of their keys; return the films that `owner` still holds."""
    row = InstanceRow
    mine = select(row.pk, row.attempts, row.storage_key).where(
        row.pk.in_([film.claimed.pk for film in films]),
        row.state == InstanceState.INDEXING,
        row.lease_owner == owner,
    )
    found = {(pk, attempts, key) for pk, attempts, key in session.execute(mine.order_by(row.pk).with_for_update())}
    claims = {film.claimed.pk: film for film in films}
    return [film for pk, film in claims.items() if (pk, film.claimed.attempts, film.claimed.storage_key) in found]


def _mark_indexed(session: Session, films: Sequence[IndexedFilm]) -> None:
    """Leave state `indexing`; the rows must be locked."""
    seen = values(
        column("pk", BigInteger), column("sha", Text), column("hash", Text), column("view", Text), name="seen"
    )
    seen = seen.data([(film.claimed.pk, film.pixel_sha256, film.pipeline_hash, film.view) for film in films])
    row = InstanceRow
    statement = (
        update(row)
        .where(row.pk == seen.c.pk)
        .values(
            state=InstanceState.INDEXED,
            reason="",
            lease_owner=None,
            lease_until=None,
            indexed_at=func.now(),
            pixel_sha256=seen.c.sha,
            pipeline_hash=seen.c.hash,
            view=func.coalesce(func.nullif(seen.c.view, ""), row.view),
        )
    )
    session.execute(statement, execution_options={"synchronize_session": False})


def _finish(
    session: Session,
    claimed: ClaimedInstance,
    owner: str,
    state: InstanceState,
    reason: str,
) -> bool:
    """Leave state `indexing` if `owner` still holds the instance and it is still the version that was claimed."""
    row = InstanceRow
    statement = (
        update(row)
        .where(
            row.pk == claimed.pk,
            row.state == InstanceState.INDEXING,
            row.lease_owner == owner,
            row.attempts == claimed.attempts,
            row.storage_key == claimed.storage_key,
        )
        .values(state=state, reason=clean(reason)[:MAX_REASON], lease_owner=None, lease_until=None)
    )
    return _count(session, statement) == 1


def _named(uids: Collection[str]) -> ColumnElement[bool]:
    names = list(uids)
    series = (
        select(SeriesRow.pk)
        .join(StudyRow, StudyRow.pk == SeriesRow.study_pk)
        .where(or_(SeriesRow.series_instance_uid.in_(names), StudyRow.study_instance_uid.in_(names)))
    )
    return or_(InstanceRow.sop_instance_uid.in_(names), InstanceRow.series_pk.in_(series))


def _claimed(line: RowMapping) -> ClaimedInstance:
    values = dict(line)
    del values["received_at"]
    return ClaimedInstance(**values)


def _summaries() -> Select[*tuple[Any, ...]]:
    row = InstanceRow
    return (
        select(
            row.pk,
            row.sop_instance_uid,
            StudyRow.study_instance_uid,
            SeriesRow.series_instance_uid,
            SeriesRow.modality,
            row.state,
            row.reason,
            row.view,
            row.source_ae,
            row.received_at,
            row.indexed_at,
            row.attempts,
            row.size_bytes,
        )
        .join(SeriesRow, SeriesRow.pk == row.series_pk)
        .join(StudyRow, StudyRow.pk == SeriesRow.study_pk)
    )


def _summary(line: RowMapping) -> InstanceSummary:
    values = dict(line)
    return InstanceSummary(**{**values, "state": InstanceState(values["state"])})


def _versions(session: Session, which: ColumnElement[bool]) -> list[Conflict]:
    row = InstanceVersionRow
    query: Select[*tuple[Any, ...]] = select(
        row.pk,
        row.sop_instance_uid,
        row.study_instance_uid,
        row.kind,
        row.comment,
        row.storage_key,
        row.sha256,
        row.source_ae,
        row.received_at,
        row.resolved_at,
    )
    return [Conflict(**line) for line in session.execute(query.where(which).order_by(row.pk)).mappings()]
