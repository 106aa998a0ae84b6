"""Questions and answers: ask for similar regions, open an answer again."""

import datetime as dt
import time
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Depends

from db import uploads
from db.result_sets import normal_code
from regionmir.core.errors import InvalidBox, QueryRefused
from regionmir.core.geometry import Box
from regionmir.core.records import Caller as Asker
from regionmir.core.records import Disclosure
from regionmir.query import trail
from regionmir.query.anchor import unknown_anchor
from regionmir.query.drawn import embed_drawn
from regionmir.query.keys import QUERY_RETRIEVE_LEVEL, Key, Keys
from regionmir.query.matching import MODALITY, STUDY_DATE
from regionmir.query.narrowing import PATIENT_AGE, PATIENT_SEX, narrowing
from regionmir.query.request import RegionQuery, read_regions
from regionmir.query.search import reopen, search
from regionmir.query.uploaded import search_uploaded
from regionmir.web.api.limited import braked, limited
from regionmir.web.api.schemas import AnswerModel, Filters, Question
from regionmir.web.api.views import seen_answer, seen_hits
from regionmir.web.callers import Caller, CallerOf, require
from regionmir.web.signin.caller import Scope
from regionmir.web.site import Site, SiteOf

router = APIRouter(tags=["queries"])

EXAMPLES: Final[dict[str, Any]] = {
    "region": {"summary": "One region of a study", "value": {"anchor": "4711", "regions": ["LLLZ"]}},
    "several": {
        "summary": "Several regions, with filters",
        "value": {
            "anchor": "4711",
            "regions": ["LLLZ", "RLLZ"],
            "combine": "rank",
            "k": 25,
            "filters": {"sex": ["F"], "age_from": 40, "age_to": 60},
        },
    },
    "box": {
        "summary": "A drawn box",
        "value": {"anchor": "4711", "box": {"x0": 1200, "y0": 1500, "x1": 1800, "y1": 2100}},
    },
    "film": {
        "summary": "A film that was uploaded",
        "value": {"film": "0123456789abcdef0123456789abcdef", "regions": ["CARD"]},
    },
}


@router.post("/queries", dependencies=[Depends(require(Scope.QUERY)), Depends(limited)])
def ask(site: SiteOf, who: CallerOf, question: Annotated[Question, Body(openapi_examples=EXAMPLES)]) -> AnswerModel:
    """Return the studies with the most similar regions, best first, one hit per study.

    A drawn box is embedded on demand; where that takes longer than two seconds the answer is 409 `box-waiting`, and the
    same question a moment later is answered.
    """
    with braked(site, who.asker(), who.guesser):
        return _answered(site, who, question)


@router.get("/result-sets/{code}", dependencies=[Depends(require(Scope.READ)), Depends(limited)])
def open_result_set(site: SiteOf, who: CallerOf, code: str) -> AnswerModel:
    """Return the answer that was given under this code; studies that are gone by now are left out."""
    asker = who.asker()
    with braked(site, asker, who.guesser), site.writable.session() as session:
        found = reopen(session, code, asker)
        if found is None:
            raise unknown_anchor()
        trail.record_shown(session, [hit.instance_pk for hit in found.hits], asker, how="result set")
        return seen_answer(session, site, who, found)


def read_question(question: Question, disclosure: Disclosure, last_within_s: float) -> RegionQuery:
    """Return the query that a question makes, the same as every other way in. Raises `QueryRefused`, `InvalidKey`."""
    if (question.anchor is None) == (question.film is None):
        raise QueryRefused("bad-token", "say either `anchor` or `film`")
    if question.film is not None and question.box is not None:
        raise QueryRefused("bad-box", "a box is drawn on a film of the archive; an uploaded film takes regions")
    return RegionQuery(
        anchor=question.anchor or question.film or "",
        anatomies=read_regions(question.regions, ""),
        k=question.k,
        combine=question.combine,
        narrow=narrowing(filter_keys(question.filters), disclosure),
        box=_box(question),
        with_same_patient=question.with_same_patient,
        last_within_s=last_within_s,
    )


def filter_keys(filters: Filters) -> Keys:
    """Return filters as the keys that a C-FIND would hold."""
    values = {
        QUERY_RETRIEVE_LEVEL: ("CS", ("STUDY",)),
        PATIENT_SEX: ("CS", tuple(filters.sex)),
        MODALITY: ("CS", tuple(filters.modality)),
        PATIENT_AGE: ("AS", _range(_age(filters.age_from), _age(filters.age_to))),
        STUDY_DATE: ("DA", _range(_day(filters.study_date_from), _day(filters.study_date_to))),
    }
    return Keys({tag: Key(tag, vr, found) for tag, (vr, found) in values.items() if found})


def _answered(site: Site, who: Caller, question: Question) -> AnswerModel:
    query = read_question(question, who.disclosure, site.settings.last_within_s)
    if question.film is not None:
        return _film_answer(site, who, query)
    asker, started = who.asker(), time.perf_counter()
    query, drawn = _drawn(site, query, asker)
    with site.writable.session() as session:
        found = search(session, query, asker, keep=who.registered, drawn=drawn, replica=site.archive.replica)
        trail.record_answer(session, found, asker, duration_ms=(time.perf_counter() - started) * 1000)
        return seen_answer(session, site, who, found)


def _drawn(site: Site, query: RegionQuery, asker: Asker) -> tuple[RegionQuery, Any]:
    if query.box is None and not normal_code(query.anchor):  # the code of an answer may stand for a box
        return query, None
    return embed_drawn(site.writable, site, query, asker)


def _film_answer(site: Site, who: Caller, query: RegionQuery) -> AnswerModel:
    asker, started = who.asker(), time.perf_counter()
    with site.writable.session() as session:
        film = uploads.get(session, query.anchor, who.name)
        found = search_uploaded(session, query, film, asker)
        duration_ms = (time.perf_counter() - started) * 1000
        trail.record_film_answer(session, query, found.hits, asker, duration_ms=duration_ms)
        return AnswerModel(
            code=None,
            disclosure=who.disclosure,
            regions=[anatomy.short for anatomy in query.anatomies],
            combine=query.combine,
            box=None,
            indexed=found.indexed,
            total=found.total,
            anchor=None,
            hits=seen_hits(session, site, who, found.hits, query.anatomies),
        )


def _box(question: Question) -> Box | None:
    if question.box is None:
        return None
    try:
        return Box(question.box.x0, question.box.y0, question.box.x1, question.box.y1)
    except InvalidBox:
        raise QueryRefused("bad-box", "the box must have x0 < x1 and y0 < y1, in stored pixels") from None


def _range(first: str, last: str) -> tuple[str, ...]:
    return (f"{first}-{last}",) if first or last else ()


def _age(years: int | None) -> str:
    return "" if years is None else f"{years:03d}Y"


def _day(day: dt.date | None) -> str:
    return "" if day is None else day.isoformat().replace("-", "")
