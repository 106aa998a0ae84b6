"""Similarity maps of pairs of regions: asked for as rows, made by an index worker, told by NOTIFY with the key."""

import datetime as dt
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import and_, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from db.engine import Database
from db.tables import ExplanationRow, InstanceRow
from regionmir.core.anatomy import Anatomy, anatomy_by_key
from regionmir.core.geometry import Box

CHANNEL = "explanation_answered"
MAX_ATTEMPTS = 3
_LEASE_S = 30.0
_STEP_S = 0.5  # a notification that got lost costs no more than this

Cells = npt.NDArray[np.float32]
"""A map (P, P) of -1..1, rows from the top as viewed."""


@dataclass(frozen=True, slots=True)
class ExplainedSide:
    """One region of a pair, in stored pixels of its instance."""

    instance_pk: int
    box: Box


@dataclass(frozen=True, slots=True)
class WaitingExplanation:
    """A pair whose maps are to be made: for query and hit, the key of the object and the box in stored pixels."""

    pk: int
    anatomy: Anatomy
    query: tuple[str, Box]
    hit: tuple[str, Box]


@dataclass(frozen=True, slots=True)
class Explained:
    """What became of a pair: its maps (query, hit), or why there are none; neither where it still waits."""

    maps: tuple[Cells, Cells] | None = None
    reason: str = ""


def ask(session: Session, model_pk: int, anatomy: Anatomy, query: ExplainedSide, hit: ExplainedSide) -> int:
    """Return the key of this pair, filed now if need be; one that failed is tried again."""
    values = {
        "model_pk": model_pk,
        "anatomy_pk": anatomy.key,
        "query_instance_pk": query.instance_pk,
        "hit_instance_pk": hit.instance_pk,
        "query_box": list(query.box.as_tuple()),
        "hit_box": list(hit.box.as_tuple()),
    }
    row = ExplanationRow
    again = {"state": "waiting", "reason": "", "attempts": 0, "asked_at": func.now()}
    statement = insert(row).values(**values, state="waiting", reason="")
    statement = statement.on_conflict_do_update(
        constraint="explanation_identity", set_=again, where=row.state == "failed"
    )
    made = session.scalar(statement.returning(row.pk))
    same = (getattr(row, name) == value for name, value in values.items())
    return made if made is not None else session.scalars(select(row.pk).where(*same)).one()


def answer(session: Session, pk: int) -> Explained:
    """Return what has become of a pair so far."""
    row = session.get_one(ExplanationRow, pk)
    if row.state == "made" and row.maps is not None:
        query, hit = (np.asarray(cells, dtype=np.float32) for cells in row.maps)
        return Explained((query, hit))
    return Explained(reason=row.reason if row.state == "failed" else "")


def wait(database: Database, pk: int, deadline_s: float) -> Explained:
    """Return what becomes of a pair within `deadline_s` seconds. Raises `DatabaseUnavailable`."""
    end = time.monotonic() + deadline_s
    with database.listening(CHANNEL) as notified:
        while True:
            with database.session() as session:
                found = answer(session, pk)
            left = end - time.monotonic()
            if found.maps is not None or found.reason or left <= 0:
                return found
            notified(str(pk), min(left, _STEP_S))


def claim(session: Session) -> WaitingExplanation | None:
    """Take the oldest waiting pair, for half a minute; None if there is none. What kills its worker is given up."""
    row = ExplanationRow
    free = or_(row.state == "waiting", and_(row.state == "making", row.lease_until < func.now()))
    hopeless = update(row).where(free, row.attempts >= MAX_ATTEMPTS)
    session.execute(hopeless.values(state="failed", reason="crashed the worker", lease_until=None))
    first = select(row.pk).where(free).order_by(row.asked_at).limit(1).with_for_update(skip_locked=True)
    query, hit = aliased(InstanceRow), aliased(InstanceRow)
    lease = func.now() + dt.timedelta(seconds=_LEASE_S)
    taken = (
        update(row)
        .where(row.pk == first.scalar_subquery(), query.pk == row.query_instance_pk, hit.pk == row.hit_instance_pk)
        .values(state="making", attempts=row.attempts + 1, lease_until=lease)
        .returning(row.pk, row.anatomy_pk, query.storage_key, row.query_box, hit.storage_key, row.hit_box)
    )
    found = session.execute(taken).first()
    if found is None:
        return None
    pk, anatomy_pk, query_key, query_box, hit_key, hit_box = found
    return WaitingExplanation(pk, anatomy_by_key(anatomy_pk), (query_key, Box(*query_box)), (hit_key, Box(*hit_box)))


def finish(session: Session, pk: int, maps: tuple[Cells, Cells] | None, reason: str = "") -> None:
    """Answer a pair with its maps (query, hit), or with the reason why there are none, and tell who waits for it."""
    kept = None if maps is None else [np.round(cells, 4).tolist() for cells in maps]
    values: dict[str, Any] = {
        "state": "failed" if kept is None else "made",
        "reason": reason[:200],
        "lease_until": None,
    }
    if kept is not None:
        values["maps"] = kept
    session.execute(update(ExplanationRow).where(ExplanationRow.pk == pk).values(**values))
    session.execute(text("SELECT pg_notify(:channel, :pk)"), {"channel": CHANNEL, "pk": str(pk)})
