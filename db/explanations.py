"""Similarity maps of pairs of regions: asked for as rows, made by an index worker, told by NOTIFY with the key."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sqlalchemy.orm import Session, aliased

from db import on_demand
from db.engine import Database
from db.tables import ExplanationRow, InstanceRow
from regionmir.core.anatomy import Anatomy, anatomy_by_key
from regionmir.core.geometry import Box

CHANNEL = "explanation_answered"
WORKING = "making"

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
    return on_demand.ask(session, ExplanationRow, "explanation_identity", values)


def answer(session: Session, pk: int) -> Explained:
    """Return what has become of a pair so far."""
    row = session.get_one(ExplanationRow, pk)
    if row.state == "made" and row.maps is not None:
        query, hit = (np.asarray(cells, dtype=np.float32) for cells in row.maps)
        return Explained((query, hit))
    return Explained(reason=row.reason if row.state == "failed" else "")


def wait(database: Database, pk: int, deadline_s: float) -> Explained:
    """Return what becomes of a pair within `deadline_s` seconds. Raises `DatabaseUnavailable`."""

    def look(session: Session) -> tuple[Explained, bool]:
        found = answer(session, pk)
        return found, found.maps is not None or bool(found.reason)

    return on_demand.wait(database, CHANNEL, pk, deadline_s, look)


def claim(session: Session, model_pk: int) -> WaitingExplanation | None:
    """Take the oldest waiting pair of a generation, for half a minute; None if there is none.

    What kills its worker is given up.
    """
    row, query, hit = ExplanationRow, aliased(InstanceRow), aliased(InstanceRow)
    joined = [query.pk == row.query_instance_pk, hit.pk == row.hit_instance_pk]
    columns = [row.pk, row.anatomy_pk, query.storage_key, row.query_box, hit.storage_key, row.hit_box]
    found = on_demand.take_oldest(session, row, model_pk, WORKING, joined, columns)
    if found is None:
        return None
    pk, anatomy_pk, query_key, query_box, hit_key, hit_box = found
    return WaitingExplanation(pk, anatomy_by_key(anatomy_pk), (query_key, Box(*query_box)), (hit_key, Box(*hit_box)))


def finish(session: Session, pk: int, maps: tuple[Cells, Cells] | None, reason: str = "") -> None:
    """Answer a pair with its maps (query, hit), or with the reason why there are none, and tell who waits for it."""
    if maps is None:
        on_demand.finish(session, ExplanationRow, CHANNEL, pk, "failed", reason)
        return
    kept = [np.round(cells, 4).tolist() for cells in maps]
    on_demand.finish(session, ExplanationRow, CHANNEL, pk, "made", reason, maps=kept)
