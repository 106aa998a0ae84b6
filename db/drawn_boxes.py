"""Drawn boxes: asked for as rows, embedded by an index worker, answered by the row and a NOTIFY with its key."""

import datetime as dt
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import and_, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.engine import Database
from db.tables import DrawnBoxRow, InstanceRow
from regionmir.core.anatomy import Anatomy, anatomy_by_key
from regionmir.core.geometry import Box
from regionmir.core.records import Vector

CHANNEL = "box_answered"
MAX_ATTEMPTS = 3
_LEASE_S = 30.0
_STEP_S = 0.5  # a notification that got lost costs no more than this


@dataclass(frozen=True, slots=True)
class WaitingBox:
    """A box to embed, in stored pixels of an object."""

    pk: int
    storage_key: str
    anatomy: Anatomy
    box: Box


@dataclass(frozen=True, slots=True)
class BoxAnswer:
    """What became of a box: its embedding, or why there is none; neither where it still waits."""

    vector: Vector | None = None
    reason: str = ""


def ask(session: Session, instance_pk: int, model_pk: int, anatomy: Anatomy, box: Box) -> int:
    """Return the key of this box, filed now if need be; one that failed is tried again."""
    corners = dict(zip(("x0", "y0", "x1", "y1"), box.as_tuple(), strict=True))
    values = {"instance_pk": instance_pk, "model_pk": model_pk, "anatomy_pk": anatomy.key, **corners}
    row = DrawnBoxRow
    again = {"state": "waiting", "reason": "", "attempts": 0, "asked_at": func.now()}
    statement = insert(row).values(**values, state="waiting", reason="")
    statement = statement.on_conflict_do_update(
        constraint="drawn_box_identity", set_=again, where=row.state == "failed"
    )
    made = session.scalar(statement.returning(row.pk))
    same = (getattr(row, name) == value for name, value in values.items())
    return made if made is not None else session.scalars(select(row.pk).where(*same)).one()


def answer(session: Session, pk: int) -> BoxAnswer:
    """Return what has become of a box so far."""
    row = session.get_one(DrawnBoxRow, pk)
    if row.state == "embedded" and row.v is not None:
        return BoxAnswer(np.asarray(row.v, dtype=np.float32))
    return BoxAnswer(reason=row.reason if row.state == "failed" else "")


def wait(database: Database, pk: int, deadline_s: float) -> BoxAnswer:
    """Return what becomes of a box within `deadline_s` seconds. Raises `DatabaseUnavailable`."""
    end = time.monotonic() + deadline_s
    with database.listening(CHANNEL) as notified:
        while True:
            with database.session() as session:
                found = answer(session, pk)
            left = end - time.monotonic()
            if found.vector is not None or found.reason or left <= 0:
                return found
            notified(str(pk), min(left, _STEP_S))


def claim(session: Session) -> WaitingBox | None:
    """Take the oldest waiting box, for half a minute; None if there is none. What kills its worker is given up."""
    row = DrawnBoxRow
    free = or_(row.state == "waiting", and_(row.state == "embedding", row.lease_until < func.now()))
    hopeless = update(row).where(free, row.attempts >= MAX_ATTEMPTS)
    session.execute(hopeless.values(state="failed", reason="crashed the worker", lease_until=None))
    first = select(row.pk).where(free).order_by(row.asked_at).limit(1).with_for_update(skip_locked=True)
    taken = (
        update(row)
        .where(row.pk == first.scalar_subquery(), InstanceRow.pk == row.instance_pk)
        .values(
            state="embedding",
            attempts=row.attempts + 1,
            lease_until=func.now() + dt.timedelta(seconds=_LEASE_S),
        )
        .returning(row.pk, InstanceRow.storage_key, row.anatomy_pk, row.x0, row.y0, row.x1, row.y1)
    )
    found = session.execute(taken).first()
    if found is None:
        return None
    pk, storage_key, anatomy_pk, *corners = found
    return WaitingBox(pk, storage_key, anatomy_by_key(anatomy_pk), Box(*corners))


def finish(session: Session, pk: int, vector: Vector | Sequence[float] | None, reason: str = "") -> None:
    """Answer a box with its embedding (D,), or with the reason why there is none, and tell who waits for it."""
    state = "failed" if vector is None else "embedded"
    values = {"state": state, "reason": reason[:200], "v": vector, "lease_until": None}
    session.execute(update(DrawnBoxRow).where(DrawnBoxRow.pk == pk).values(**values))
    session.execute(text("SELECT pg_notify(:channel, :pk)"), {"channel": CHANNEL, "pk": str(pk)})
