"""Queries that start from a drawn box: an index worker embeds it on demand, and the asker waits for that."""

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from db import drawn_boxes, regions, search_rows
from db.generations import ActiveModel
from regionmir.core.anatomy import Anatomy
from regionmir.core.errors import InvalidBox, QueryRefused
from regionmir.core.geometry import Box
from regionmir.core.records import Caller, Vector
from regionmir.query.anchor import find_anchor
from regionmir.query.request import RegionQuery
from regionmir.query.search import active_model, check_looked_at, check_searchable, completed, reopen

if TYPE_CHECKING:
    from db.drawn_boxes import BoxAnswer
    from db.engine import Database, Session

DEADLINE_S: Final = 2.0
"""How long an asker waits for a box to be embedded."""


class SearchQueue(Protocol):
    """Wakes whoever embeds boxes; never raises."""

    def wake_search(self) -> None: ...


def embed_drawn(
    database: "Database", queue: SearchQueue, query: RegionQuery, caller: Caller, deadline_s: float = DEADLINE_S
) -> tuple[RegionQuery, Vector | None]:
    """Return the query with its region named, and the embedding of its drawn box, None where it has no box.

    Raises `QueryRefused` where the box cannot be embedded, or is not within `deadline_s` seconds: it is then embedded
    all the same, and the next time it is asked for the answer is there.
    """
    with database.session() as session:
        query = completed(query, reopen(session, query.anchor, caller))
        if query.box is None:
            return query, None
        query, pk = ask_drawn(session, query, caller)
        found = drawn_boxes.answer(session, pk)
    if found.vector is None:
        queue.wake_search()
        found = drawn_boxes.wait(database, pk, deadline_s)
    return query, vector_of(found)


def ask_drawn(session: "Session", query: RegionQuery, caller: Caller, *, again: bool = True) -> tuple[RegionQuery, int]:
    """File the box of `query` to be embedded; return the query with its region named, and the key of the box.

    The box is of the anchor's first film; what lies outside of it is cut off. Where no region is named, the box is
    compared with the region of the film that it overlaps most. One that could not be embedded is tried again if
    `again`. Raises `QueryRefused`.
    """
    assert query.box is not None
    kept = reopen(session, query.anchor, caller)
    model = active_model(session)
    for anatomy in query.anatomies:
        check_searchable(anatomy, model)
    _, candidates = find_anchor(session, query, caller, kept.anchor_instance_pk if kept else None)
    instance_pk = candidates[0].instance_pk
    box = _inside(session, instance_pk, query.box)
    anatomy = query.anatomies[0] if query.anatomies else _most_overlapped(session, instance_pk, model, box)
    pk = drawn_boxes.ask(session, instance_pk, model.pk, anatomy, box, again=again)
    return replace(query, anatomies=(anatomy,), box=box), pk


def vector_of(found: "BoxAnswer") -> Vector:
    """Return the embedding of a box that was answered. Raises `QueryRefused` for one that was not."""
    if found.vector is not None:
        return found.vector
    if found.reason:
        raise QueryRefused("box-failed", f"the box was not embedded: {found.reason}")
    raise QueryRefused("box-waiting", "the box is not embedded yet; ask again")


def _inside(session: "Session", instance_pk: int, box: Box) -> Box:
    found = search_rows.instances(session, [instance_pk])[instance_pk]
    try:
        return box.clipped(found.columns or 0, found.rows or 0)
    except InvalidBox:
        raise QueryRefused("bad-box", "the box is outside the image") from None


def _most_overlapped(session: "Session", instance_pk: int, model: ActiveModel, box: Box) -> Anatomy:
    found = [filed.region for filed in regions.of_instances(session, [instance_pk], model.pk)]
    if not found:
        check_looked_at(session, model, [instance_pk])
    best = max(found, key=lambda region: region.box.iou(box), default=None)
    if best is None or best.box.iou(box) == 0:
        raise QueryRefused("region-required", "the box overlaps no region: name one")
    return best.anatomy
