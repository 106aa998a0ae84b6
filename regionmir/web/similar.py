"""The similar studies of a region or a drawn box, as a page shows them."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from db import browse, feedback, findings
from db.browse import BrowsedInstance
from db.feedback import Pair
from regionmir.core.errors import InvalidIdentifier, QueryRefused
from regionmir.core.geometry import Box
from regionmir.core.records import Vector
from regionmir.query import trail
from regionmir.query.drawn import embed_drawn
from regionmir.query.request import RegionQuery
from regionmir.query.search import Answer, Hit, active_model, search
from regionmir.web.asking import Asked
from regionmir.web.cards import InstanceCard, RegionMark, age_band, instance_card, region_marks
from regionmir.web.inlined import region_pictures
from regionmir.web.pictures import View, view_of
from regionmir.web.site import Site
from regionmir.web.visitors import Visitor

if TYPE_CHECKING:
    from db.engine import Session


@dataclass(frozen=True, slots=True)
class SimilarCard:
    """One hit. `similarity` is a cosine, -1..1, never a probability; `relevant`: what the visitor said of it."""

    rank: int
    similarity: float
    instance: InstanceCard
    view: View | None
    marks: tuple[RegionMark, ...]
    url: str
    """Of this region of this hit as the next question."""
    look_url: str
    """Of the same answer, looking at this hit."""
    facts: tuple[str, ...]
    picture_url: str = ""
    """Of this region of this hit, small; empty where its film may not be shown."""
    findings: tuple[str, ...] = ()
    relevant: bool | None = None

    @property
    def box(self) -> Box | None:
        """Return the region in pixels of the film as viewed."""
        return next((mark.box for mark in self.marks if mark.chosen), None)


@dataclass(frozen=True, slots=True)
class Similar:
    """The answer to a search from a page: hits, or why there is none. `indexed` of `total` films were searched."""

    refusal: str = ""
    hits: tuple[SimilarCard, ...] = ()
    indexed: int = 0
    total: int = 0
    search_s: float = 0.0
    pictures_s: float = 0.0
    """What the small pictures took that stand in the page."""
    comes_later: bool = False
    """Time cures the refusal: a worker is about to embed the box."""

    def looked_at(self, rank: int) -> SimilarCard | None:
        """Return the hit of this rank, else the first; None without hits."""
        return next((hit for hit in self.hits if hit.rank == rank), self.hits[0] if self.hits else None)


def query_of(asked: Asked, instance: BrowsedInstance, visitor: Visitor, k: int) -> RegionQuery:
    """Return the query that a page's question is. Raises `QueryRefused`."""
    box = None
    if asked.box is not None:
        view = view_of(instance)
        if view is None:
            raise QueryRefused("bad-box", "This film does not say how it lies: no box can be drawn on it.")
        box = view.stored(asked.box)
    try:
        return asked.query(instance.uid, box, k, visitor.caller.disclosure)
    except InvalidIdentifier as error:
        raise QueryRefused("bad-filter", str(error)) from None


def embedded(site: Site, query: RegionQuery, visitor: Visitor) -> tuple[RegionQuery, Vector | None]:
    """Return the query with its drawn box embedded by a worker, if it has one. Raises `QueryRefused`."""
    if query.box is None:
        return query, None
    return embed_drawn(site.writable, site, query, visitor.caller)


def find_similar(site: Site, visitor: Visitor, instance: BrowsedInstance, asked: Asked) -> Similar:
    """Return the studies most like what was asked for, or why they cannot be searched.

    Writes a drawn box that waits for its worker, and what an identified visitor has asked into the audit trail.
    """
    try:
        query, drawn = embedded(site, query_of(asked, instance, visitor, site.settings.default_k), visitor)
        with site.database.session() as session:
            began = time.perf_counter()
            answer = search(session, query, visitor.caller, keep=False, drawn=drawn, replica=site.archive.replica)
            model_pk, found = active_model(session).pk, [hit.instance_pk for hit in answer.hits]
            films = browse.instances_by_pk(session, found, model_pk=model_pk)
            searched = time.perf_counter()
            pictures = region_pictures(session, films, asked.anatomy)
            drew = time.perf_counter()
            said = _said(session, visitor, Pair(model_pk, asked.anatomy, instance.pk, 0, query.box), films)
            hits = _cards(session, instance, asked, answer, films, pictures, said)
        if visitor.is_identified:
            with site.writable.session() as session:
                trail.audit_answer(session, answer, visitor.caller)
    except QueryRefused as refusal:
        return Similar(refusal=str(refusal), comes_later=refusal.code == "box-waiting")
    return Similar("", hits, answer.indexed, answer.total, searched - began, drew - searched)


def _said(session: "Session", visitor: Visitor, pair: Pair, films: Mapping[int, BrowsedInstance]) -> dict[int, bool]:
    """Return by instance what the visitor has said of hits."""
    return feedback.given(session, visitor.name, pair, list(films)) if visitor.name else {}


def _cards(
    session: "Session",
    instance: BrowsedInstance,
    asked: Asked,
    answer: Answer,
    films: Mapping[int, BrowsedInstance],
    pictures: Mapping[int, str],
    said: Mapping[int, bool],
) -> tuple[SimilarCard, ...]:
    found = findings.of_studies(session, [hit.study_pk for hit in answer.hits])
    return tuple(
        replace(
            _card(hit, films[hit.instance_pk], asked, instance),
            picture_url=pictures.get(hit.instance_pk, ""),
            findings=found.get(hit.study_pk, ()),
            relevant=said.get(hit.instance_pk),
        )
        for hit in answer.hits
        if hit.instance_pk in films
    )


def _card(hit: Hit, film: BrowsedInstance, asked: Asked, query: BrowsedInstance) -> SimilarCard:
    card, view = instance_card(film), view_of(film)
    return SimilarCard(
        rank=hit.rank,
        similarity=hit.similarity,
        instance=card,
        view=view,
        marks=tuple(region_marks(film, view, asked.anatomy)),
        url=f"{card.url}/{asked.anatomy.short}",
        look_url=asked.at(hit.rank).path(instance_card(query).url),
        facts=tuple(fact for fact in (*card.facts, age_band(film.age_years)) if fact),
    )
