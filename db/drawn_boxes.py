"""Drawn boxes: asked for as rows, embedded by an index worker, answered by the row and a NOTIFY with its key."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy.orm import Session

from db import on_demand
from db.engine import Database
from db.tables import DrawnBoxRow, InstanceRow
from regionmir.core.anatomy import Anatomy, anatomy_by_key
from regionmir.core.geometry import Box
from regionmir.core.records import Vector

CHANNEL = "box_answered"
WORKING = "embedding"


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


def ask(session: Session, instance_pk: int, model_pk: int, anatomy: Anatomy, box: Box, *, again: bool = True) -> int:
    """Return the key of this box, filed now if need be; one that failed is tried again if `again`."""
    corners = dict(zip(("x0", "y0", "x1", "y1"), box.as_tuple(), strict=True))
    values = {"instance_pk": instance_pk, "model_pk": model_pk, "anatomy_pk": anatomy.key, **corners}
    return on_demand.ask(session, DrawnBoxRow, "drawn_box_identity", values, again=again)


def answer(session: Session, pk: int) -> BoxAnswer:
    """Return what has become of a box so far."""
    row = session.get_one(DrawnBoxRow, pk)
    if row.state == "embedded" and row.v is not None:
        return BoxAnswer(np.asarray(row.v, dtype=np.float32))
    return BoxAnswer(reason=row.reason if row.state == "failed" else "")


def wait(database: Database, pk: int, deadline_s: float) -> BoxAnswer:
    """Return what becomes of a box within `deadline_s` seconds. Raises `DatabaseUnavailable`."""

    def look(session: Session) -> tuple[BoxAnswer, bool]:
        found = answer(session, pk)
        return found, found.vector is not None or bool(found.reason)

    return on_demand.wait(database, CHANNEL, pk, deadline_s, look)


def claim(session: Session, model_pk: int) -> WaitingBox | None:
    """Take the oldest waiting box of a generation, for half a minute; None if there is none.

    What kills its worker is given up.
    """
    row = DrawnBoxRow
    columns = [row.pk, InstanceRow.storage_key, row.anatomy_pk, row.x0, row.y0, row.x1, row.y1]
    found = on_demand.take_oldest(session, row, model_pk, WORKING, [InstanceRow.pk == row.instance_pk], columns)
    if found is None:
        return None
    pk, storage_key, anatomy_pk, *corners = found
    return WaitingBox(pk, storage_key, anatomy_by_key(anatomy_pk), Box(*corners))


def finish(session: Session, pk: int, vector: Vector | Sequence[float] | None, reason: str = "") -> None:
    """Answer a box with its embedding (D,), or with the reason why there is none, and tell who waits for it."""
    state = "failed" if vector is None else "embedded"
    on_demand.finish(session, DrawnBoxRow, CHANNEL, pk, state, reason, v=vector)
