"""The outbox: results on their way to destinations, claimed under a lease, tried again or laid aside with a reason.

State machine: waiting -> sending -> delivered | dead; a failure that may pass goes back to waiting, `retry` brings
dead ones back, `drop` gives up what is not delivered. A row goes only with its film: what was dropped is not made anew.
"""

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.clock import expired_lease, later_than_any
from db.filing import clean
from db.tables import DeliveryRow, InstanceRow, SeriesRow, StudyRow
from db.visibility import of_visible_study
from regionmir.core.identifiers import AETitle, Uid
from regionmir.core.records import Disclosure

MAX_REASON = 200

LONGEST_WAIT_S = 2400.0
"""No sender lets a delivery wait so long before it tries again."""

AWAY = "destination away: "
"""Begins the reason of what waits only because another delivery did not reach the destination."""


class DeliveryState(StrEnum):
    """Progress of a delivery."""

    WAITING = "waiting"
    SENDING = "sending"
    DELIVERED = "delivered"
    DEAD = "dead"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Result:
    """What is to be delivered: the object is built from this when it is sent. `kind`: `sr`, `sheet`, ...

    `instance_pk`: the film that it is about, under the patient and study that `disclosure` says. `codes`: of the
    answers that it tells of.
    """

    kind: str
    study_pk: int
    study_instance_uid: Uid
    model_pk: int
    sop_instance_uid: Uid
    instance_pk: int | None = None
    disclosure: Disclosure = Disclosure.PSEUDONYMOUS
    codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that a sender holds under a lease."""

    pk: int
    destination: AETitle
    attempts: int
    """This one included."""
    result: Result


@dataclass(frozen=True, slots=True)
class DeliverySummary:
    """One line of a list of deliveries."""

    pk: int
    destination: AETitle
    kind: str
    sop_instance_uid: Uid
    study_instance_uid: Uid
    state: DeliveryState
    reason: str
    attempts: int
    created_at: dt.datetime
    next_try_at: dt.datetime
    delivered_at: dt.datetime | None
    commitment: str


def enqueue(session: Session, result: Result, destination: AETitle) -> bool:
    """Put a result into the outbox; False where the same object of the same model is there already, in any state."""
    values = {
        "sop_instance_uid": result.sop_instance_uid,
        "destination": destination,
        "model_pk": result.model_pk,
        "kind": result.kind,
        "study_pk": result.study_pk,
        "instance_pk": result.instance_pk,
        "disclosure": result.disclosure.value,
        "result_set_codes": list(result.codes),
        "state": DeliveryState.WAITING,
        "reason": "",
    }
    statement = insert(DeliveryRow).values(values).on_conflict_do_nothing(constraint="delivery_once")
    return session.scalar(statement.returning(DeliveryRow.pk)) is not None


def follow(session: Session, study_pks: Collection[int]) -> None:
    """Have results about films that were moved out of these studies be about the studies that the films are in now.

    When they are sent they say what their film says then; what was sent is not made again.
    """
    row, film, series = DeliveryRow, InstanceRow, SeriesRow
    moved = row.instance_pk == film.pk, film.series_pk == series.pk, row.study_pk != series.study_pk
    statement = update(row).where(row.study_pk.in_(study_pks), *moved).values(study_pk=series.study_pk)
    session.execute(statement, execution_options={"synchronize_session": False})


def due_destinations(session: Session) -> list[AETitle]:
    """Return the destinations that have something to be sent now. What is about a hidden study waits."""
    row = DeliveryRow
    query = select(row.destination).distinct().where(*_due())
    return [AETitle(title) for title in session.scalars(query.order_by(row.destination))]


def claim(
    session: Session, owner: str, destination: AETitle, *, limit: int, lease_s: float, max_senders: int
) -> list[Claimed]:
    """Take up to `limit` due deliveries of one destination, those due longest first, for `lease_s` seconds.

    None while `max_senders` others, of whatever process, are sending there.
    """
    row = DeliveryRow
    session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 1))"), {"name": destination})
    others = select(func.count(row.lease_owner.distinct())).where(
        row.state == DeliveryState.SENDING,
        row.destination == destination,
        row.lease_owner != owner,
        row.lease_until > func.now(),
    )
    if (session.scalar(others) or 0) >= max_senders:
        return []
    chosen = (
        select(row.pk)
        .where(row.destination == destination, *_due())
        .order_by(row.next_try_at, row.pk)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("chosen")
    )
    taken = (
        update(row)
        .where(row.pk == chosen.c.pk, StudyRow.pk == row.study_pk)
        .values(
            state=DeliveryState.SENDING,
            attempts=row.attempts + 1,
            lease_owner=owner,
            lease_until=_in_seconds(lease_s),
        )
        .returning(
            row.next_try_at,
            row.pk,
            row.attempts,
            row.kind,
            row.study_pk,
            StudyRow.study_instance_uid,
            row.model_pk,
            row.sop_instance_uid,
            row.instance_pk,
            row.disclosure,
            row.result_set_codes,
        )
    )
    found = sorted(session.execute(taken).all())
    return [Claimed(pk, destination, attempts, _result(*values)) for _, pk, attempts, *values in found]


def renew(session: Session, owner: str, lease_s: float) -> None:
    """Extend the leases on all that `owner` holds, those that wait behind a slow object too."""
    row = DeliveryRow
    held = row.state == DeliveryState.SENDING, row.lease_owner == owner
    session.execute(update(row).where(*held).values(lease_until=_in_seconds(lease_s)))


def is_held(session: Session, owner: str, claimed: Claimed) -> bool:
    """Return whether `owner` still holds a delivery."""
    return session.scalar(select(DeliveryRow.pk).where(*_held(owner, claimed))) is not None


def release(session: Session, owner: str) -> int:
    """Give back what `owner` holds and did not try; return how many."""
    row = DeliveryRow
    statement = (
        update(row)
        .where(row.state == DeliveryState.SENDING, row.lease_owner == owner)
        .values(**_waiting_again(attempts=func.greatest(row.attempts - 1, 0)))
    )
    return int(session.execute(statement).rowcount)  # type: ignore[attr-defined]


def finish_delivered(session: Session, owner: str, claimed: Claimed, *, sop_class_uid: str, remark: str = "") -> bool:
    """Mark a delivery as taken by its destination; `remark`: a warning that came with it.

    Also where the lease was lost and nobody has tried since: it is there. False: another has.
    """
    values = {"delivered_at": func.now(), "sop_class_uid": sop_class_uid}
    row = DeliveryRow
    untried = and_(row.pk == claimed.pk, row.state == DeliveryState.WAITING, row.attempts == claimed.attempts)
    holds = or_(and_(*_held(owner, claimed)), untried)
    return _finish(session, holds, DeliveryState.DELIVERED, remark, values)


def finish_dead(session: Session, owner: str, claimed: Claimed, *, reason: str) -> bool:
    """Lay a delivery aside until an operator retries it. False: the lease was lost."""
    return _finish(session, and_(*_held(owner, claimed)), DeliveryState.DEAD, reason, {})


def finish_later(session: Session, owner: str, claimed: Claimed, *, reason: str, after_s: float) -> bool:
    """Let a delivery wait for `after_s` seconds and be tried again. False: the lease was lost."""
    values = {"next_try_at": _in_seconds(after_s)}
    return _finish(session, and_(*_held(owner, claimed)), DeliveryState.WAITING, reason, values)


def hold_back(session: Session, destination: AETitle, *, reason: str, after_s: float) -> None:
    """Let all that waits for a destination wait for `after_s` seconds, or until `let_go`: it cannot be reached."""
    row, then = DeliveryRow, _in_seconds(after_s)
    session.execute(
        update(row)
        .where(row.state == DeliveryState.WAITING, row.destination == destination, row.next_try_at < then)
        .values(next_try_at=then, reason=clean(AWAY + reason)[:MAX_REASON])
    )


def let_go(session: Session, destination: AETitle) -> int:
    """Make due what was held back: the destination answers again. Returns how many; what failed itself waits on."""
    row = DeliveryRow
    statement = (
        update(row)
        .where(row.state == DeliveryState.WAITING, row.destination == destination, row.next_try_at > func.now())
        .where(row.reason.startswith(AWAY, autoescape=True))
        .values(next_try_at=func.now(), reason="")
    )
    return int(session.execute(statement).rowcount)  # type: ignore[attr-defined]


def requeue_expired(session: Session, lease_s: float | None = None) -> int:
    """Let deliveries wait again whose sender let its lease expire; return how many.

    With `lease_s`, how long leases last, also those that end later than any can: the clock was moved back since. What
    waits longer than any pause is due then.
    """
    row = DeliveryRow
    if lease_s is not None:
        waits_too_long = row.state == DeliveryState.WAITING, later_than_any(row.next_try_at, LONGEST_WAIT_S)
        session.execute(update(row).where(*waits_too_long).values(next_try_at=func.now()))
    statement = (
        update(row)
        .where(row.state == DeliveryState.SENDING, expired_lease(row.lease_until, lease_s))
        .values(**_waiting_again())
    )
    return int(session.execute(statement).rowcount)  # type: ignore[attr-defined]


def retry(
    session: Session, *, pks: Collection[int] = (), destination: str | None = None, everything: bool = False
) -> int:
    """Let dead deliveries be tried again at once, and waiting ones not wait longer; return how many."""
    states = (DeliveryState.DEAD, DeliveryState.WAITING)
    values = _waiting_again(attempts=0, next_try_at=func.now(), commitment="", transaction_uid=None, requested_at=None)
    return _change(session, states, values, pks, destination, everything)


def drop(
    session: Session, *, pks: Collection[int] = (), destination: str | None = None, everything: bool = False
) -> int:
    """Give up deliveries that are dead or wait; return how many."""
    values = {"state": DeliveryState.DROPPED, "reason": "dropped by an operator"}
    return _change(session, (DeliveryState.DEAD, DeliveryState.WAITING), values, pks, destination, everything)


def counts_by_state(session: Session) -> dict[str, int]:
    """Return how many deliveries are in each state, all of them named."""
    found = session.execute(select(DeliveryRow.state, func.count()).group_by(DeliveryRow.state))
    return {state.value: 0 for state in DeliveryState} | dict(found.all())


def listing(
    session: Session,
    *,
    state: DeliveryState | None = None,
    destination: str | None = None,
    limit: int | None = None,
) -> list[DeliverySummary]:
    """Return deliveries, newest first."""
    row = DeliveryRow
    query: Select[*tuple[Any, ...]] = (
        select(
            row.pk,
            row.destination,
            row.kind,
            row.sop_instance_uid,
            StudyRow.study_instance_uid,
            row.state,
            row.reason,
            row.attempts,
            row.created_at,
            row.next_try_at,
            row.delivered_at,
            row.commitment,
        )
        .join(StudyRow, StudyRow.pk == row.study_pk)
        .order_by(row.pk.desc())
        .limit(limit)
    )
    if state is not None:
        query = query.where(row.state == state)
    if destination is not None:
        query = query.where(row.destination == destination)
    found = session.execute(query).mappings()
    return [DeliverySummary(**{**line, "state": DeliveryState(line["state"])}) for line in found]


def commitment_requested(session: Session, pks: Sequence[int], transaction_uid: str) -> None:
    """Note that the destination of these delivered objects was asked to commit itself to their storage."""
    row = DeliveryRow
    session.execute(
        update(row)
        .where(row.pk.in_(list(pks)), row.state == DeliveryState.DELIVERED)
        .values(commitment="requested", transaction_uid=transaction_uid, requested_at=func.now())
    )


def commitment_withdrawn(session: Session, transaction_uid: str) -> None:
    """Note that the destination would not even take the question: these objects stay delivered and uncommitted."""
    row = DeliveryRow
    session.execute(
        update(row)
        .where(row.transaction_uid == transaction_uid, row.commitment == "requested")
        .values(commitment="", transaction_uid=None, requested_at=None)
    )


def commitment_answered(
    session: Session,
    transaction_uid: str,
    destination: str,
    *,
    committed: Collection[str],
    refused: dict[str, int],
) -> int:
    """Note which objects a destination keeps for good (by SOP Instance UID) and which not, with Failure Reasons.

    Those that it does not keep go to the dead letters. Returns how many rows changed: 0 for a transaction not ours.
    """
    row = DeliveryRow
    asked = (row.transaction_uid == transaction_uid, row.destination == destination, row.commitment == "requested")
    kept = update(row).where(*asked, row.sop_instance_uid.in_(list(committed))).values(commitment="committed")
    changed = int(session.execute(kept).rowcount)  # type: ignore[attr-defined]
    for sop_instance_uid, why in refused.items():
        lost = (
            update(row)
            .where(*asked, row.sop_instance_uid == sop_instance_uid)
            .values(commitment="refused", state=DeliveryState.DEAD, reason=f"storage not committed: 0x{why:04X}")
        )
        changed += int(session.execute(lost).rowcount)  # type: ignore[attr-defined]
    return changed


def _result(
    kind: str,
    study_pk: int,
    study_uid: str,
    model_pk: int,
    sop_uid: str,
    instance_pk: int | None,
    disclosure: str,
    codes: Sequence[str],
) -> Result:
    return Result(
        kind, study_pk, Uid(study_uid), model_pk, Uid(sop_uid), instance_pk, Disclosure(disclosure), tuple(codes)
    )


def _due() -> tuple[ColumnElement[bool], ...]:
    row = DeliveryRow
    return row.state == DeliveryState.WAITING, row.next_try_at <= func.now(), of_visible_study(row.study_pk)


def _change(
    session: Session,
    states: Collection[DeliveryState],
    values: dict[str, Any],
    pks: Collection[int],
    destination: str | None,
    everything: bool,
) -> int:
    row = DeliveryRow
    chosen: list[ColumnElement[bool]] = []
    if pks:
        chosen.append(row.pk.in_(list(pks)))
    if destination is not None:
        chosen.append(row.destination == destination)
    if not chosen and not everything:
        return 0
    statement = update(row).where(row.state.in_(list(states)), *chosen).values(**values)
    return int(session.execute(statement).rowcount)  # type: ignore[attr-defined]


def _finish(
    session: Session, holds: ColumnElement[bool], state: DeliveryState, reason: str, values: dict[str, Any]
) -> bool:
    statement = (
        update(DeliveryRow)
        .where(holds)
        .values(state=state, reason=clean(reason)[:MAX_REASON], lease_owner=None, lease_until=None, **values)
    )
    return _count(session, statement)


def _held(owner: str, claimed: Claimed) -> tuple[ColumnElement[bool], ...]:
    row = DeliveryRow
    return (
        row.pk == claimed.pk,
        row.state == DeliveryState.SENDING,
        row.lease_owner == owner,
        row.attempts == claimed.attempts,
    )


def _waiting_again(**values: Any) -> dict[str, Any]:
    return {"state": DeliveryState.WAITING, "lease_owner": None, "lease_until": None, **values}


def _in_seconds(seconds: float) -> ColumnElement[dt.datetime]:
    return func.now() + dt.timedelta(seconds=seconds)


def _count(session: Session, statement: Any) -> bool:
    return int(session.execute(statement).rowcount) == 1  # type: ignore[attr-defined]
