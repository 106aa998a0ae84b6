"""What pages do beside showing: opinions of hits, results on their way to a PACS, similarity maps on demand."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from db import browse, explanations, feedback
from db.browse import BrowsedInstance
from db.explanations import Explained, ExplainedSide
from db.feedback import Pair
from regionmir.core.anatomy import Anatomy
from regionmir.core.errors import InvalidAETitle, InvalidBox, QueryRefused
from regionmir.core.geometry import Box
from regionmir.core.identifiers import parse_ae_title
from regionmir.pixels.heat import heat_layer
from regionmir.query.search import active_model
from regionmir.web.asking import read_asked, read_box
from regionmir.web.cards import instance_card
from regionmir.web.films import shown_instance
from regionmir.web.forms import FormOf, back_to
from regionmir.web.pictures import view_of
from regionmir.web.rendering import anatomy_in_path, page, uid_in_path, unknown
from regionmir.web.sending import send_answer
from regionmir.web.signin.caller import Scope, needs, writer
from regionmir.web.similar import embedded, query_of
from regionmir.web.site import Site, SiteOf
from regionmir.web.visitors import VisitorOf

if TYPE_CHECKING:
    from db.engine import Session

MAP_DEADLINE_S = 8.0
"""How long a page waits for a similarity map."""

_MAP_PX = 192
_MAY_COMPARE: Final = [Depends(needs(Scope.READ, Scope.QUERY))]

router = APIRouter()


@router.post("/feedback", dependencies=[Depends(writer)])
def give_feedback(site: SiteOf, visitor: VisitorOf, request: Request, form: FormOf) -> Response:
    """Keep whether a hit is relevant (`yes`, `no`), or forget what was said of it (empty)."""
    said = form.get("relevant", "")
    if said not in ("yes", "no", ""):
        raise HTTPException(400, "`relevant` must be yes, no or empty.")
    with site.writable.session() as session:
        pair, query = _pair(session, form)
        if said:
            feedback.give(session, visitor.name, pair, relevant=said == "yes")
        else:
            feedback.withdraw(session, visitor.name, pair)
    if wants_json(request):
        return JSONResponse({"relevant": said})
    return RedirectResponse(back_to(form, instance_card(query).url), 303)


@router.post("/send", dependencies=[Depends(writer), Depends(needs(Scope.QUERY))])
def send_results(site: SiteOf, visitor: VisitorOf, request: Request, form: FormOf) -> Response:
    """Ask the question of a page again, keep its answer, and put the contact sheet into the outbox."""
    asked = read_asked(anatomy_in_path(form.get("region", "")), form)
    try:
        destination = parse_ae_title(form.get("to", "") or "-")
    except InvalidAETitle as error:
        raise HTTPException(400, str(error)) from None
    with site.database.session() as session:
        instance = _instance(session, site.active_model_pk(session), form.get("query", ""))
    query, drawn = embedded(site, query_of(asked, instance, visitor, site.settings.default_k), visitor)
    sent = send_answer(site, visitor, query, drawn, destination)
    if wants_json(request):
        return JSONResponse({"code": sent.code, "to": destination, "said": sent.said})
    back = back_to(form, instance_card(instance).url)
    return page(request, "done.html", title="On its way", message=sent.said, back=back)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A pair of regions whose maps are asked for."""

    query: BrowsedInstance
    hit: BrowsedInstance
    anatomy: Anatomy
    query_box: Box
    hit_box: Box


@router.get("/maps/{query_uid}/{hit_uid}/{short}", dependencies=_MAY_COMPARE)
def map_state(site: SiteOf, query_uid: str, hit_uid: str, short: str, box: str = "") -> JSONResponse:
    """Ask a worker for the similarity maps of a pair and wait a little: `made`, `waiting`, or `failed` and why."""
    found = _explained(site, _asked_pair(site, query_uid, hit_uid, short, box), MAP_DEADLINE_S)
    state = "made" if found.maps is not None else "failed" if found.reason else "waiting"
    why = found.reason or ("" if found.maps is not None else "The worker is busy. Ask again in a few seconds.")
    return JSONResponse({"state": state, "why": why})


@router.get("/maps/{query_uid}/{hit_uid}/{short}/{side}.png", dependencies=_MAY_COMPARE)
def map_picture(
    site: SiteOf, query_uid: str, hit_uid: str, short: str, side: Literal["query", "hit"], box: str = ""
) -> Response:
    """One map of a pair, to lie over its region: warm where the region speaks for the likeness, cold where against."""
    found = _explained(site, _asked_pair(site, query_uid, hit_uid, short, box), 0.0)
    if found.maps is None:
        raise unknown("This similarity map is not made yet.")
    picture = heat_layer(found.maps[0 if side == "query" else 1], _MAP_PX)
    return Response(picture, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})


def wants_json(request: Request) -> bool:
    """True where a script of a page asks, not a form."""
    return request.headers.get("accept", "").startswith("application/json")


def _pair(session: "Session", form: dict[str, str]) -> tuple[Pair, BrowsedInstance]:
    model_pk = active_model(session).pk
    query = _instance(session, model_pk, form.get("query", ""))
    hit = _instance(session, model_pk, form.get("hit", ""))
    if hit.study_pk == query.study_pk:
        raise HTTPException(400, "A hit is of another study than the query.")
    box = _stored(query, read_box(form["box"])) if form.get("box") else None
    return Pair(model_pk, anatomy_in_path(form.get("region", "")), query.pk, hit.pk, box), query


def _instance(session: "Session", model_pk: int | None, uid: str) -> BrowsedInstance:
    found = browse.find_instance(session, uid_in_path(uid), model_pk=model_pk)
    if found is None:
        raise unknown("There is no such film.")
    return found


def _stored(instance: BrowsedInstance, box: Box) -> Box:
    """Return a box of the film as viewed in stored pixels, cut at its edges. Raises `QueryRefused`."""
    view = view_of(instance)
    if view is None:
        raise QueryRefused("bad-box", "This film does not say how it lies: no box can be drawn on it.")
    try:
        return view.stored(box).clipped(view.columns, view.rows)
    except InvalidBox:
        raise QueryRefused("bad-box", "The box is outside the film: draw it again.") from None


def _asked_pair(site: Site, query_uid: str, hit_uid: str, short: str, box: str) -> _Asked:
    anatomy = anatomy_in_path(short)
    query, hit = shown_instance(site, query_uid), shown_instance(site, hit_uid)
    of_query, of_hit = query.region(anatomy), hit.region(anatomy)
    if of_hit is None or (of_query is None and not box):
        raise unknown("This region was not found in the film.")
    drawn: Any = _stored(query, read_box(box)) if box else of_query and of_query.box
    return _Asked(query, hit, anatomy, drawn, of_hit.box)


def _explained(site: Site, pair: _Asked, deadline_s: float) -> Explained:
    with site.writable.session() as session:
        model = active_model(session)
        sides = ExplainedSide(pair.query.pk, pair.query_box), ExplainedSide(pair.hit.pk, pair.hit_box)
        pk = explanations.ask(session, model.pk, pair.anatomy, *sides)
        found = explanations.answer(session, pk)
    if found.maps is None and not found.reason and deadline_s:
        site.wake_explain()
        found = explanations.wait(site.writable, pk, deadline_s)
    return found
