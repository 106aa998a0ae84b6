"""The pages: a list of studies, a study with its boxes, and for one region the similar studies beside it."""

from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from starlette.exceptions import HTTPException

from db import browse, findings, instances, peers
from db.browse import BrowsedInstance, BrowsedStudy, Identity, StudyFilter
from regionmir.core.errors import DatabaseUnavailable, QueryRefused, StorageUnavailable
from regionmir.core.records import InstanceState
from regionmir.core.terms import SEXES
from regionmir.query import trail
from regionmir.web.asking import VIEWS, read_asked, read_box
from regionmir.web.cards import instance_card, region_marks, shown_reason, study_card
from regionmir.web.pictures import view_of
from regionmir.web.rendering import anatomy_in_path, page, uid_in_path, unknown
from regionmir.web.signin.caller import Scope, needs
from regionmir.web.similar import find_similar
from regionmir.web.site import Site, SiteOf
from regionmir.web.visitors import Visitor, VisitorOf

STUDIES_PER_PAGE = 24
MAX_TEXT = 128
_MOST_PAGES = 100_000
_READ = ["GET", "HEAD"]

router = APIRouter(dependencies=[Depends(needs(Scope.READ))])


@router.api_route("/", methods=_READ)
def list_studies(
    site: SiteOf,
    visitor: VisitorOf,
    request: Request,
    q: str = "",
    state: str = "",
    sex: str = "",
    view: str = "",
    finding: str = "",
) -> HTMLResponse:
    """The studies, newest first, with state and a thumbnail each; those that pass the search alone."""
    wanted = _study_filter(visitor, q, state, sex, view, finding)
    number = _page_number(request)
    with site.database.session() as session:
        total = browse.count_studies(session, wanted)
        pages = max(1, -(-total // STUDIES_PER_PAGE))
        if not 1 <= number <= min(pages, _MOST_PAGES):
            raise unknown("There is no such page of the list.")
        model_pk = site.active_model_pk(session)
        part = {"limit": STUDIES_PER_PAGE, "offset": (number - 1) * STUDIES_PER_PAGE}
        found = browse.list_studies(session, model_pk=model_pk, wanted=wanted, **part)
        live = _live(session)
        labels = findings.labels(session)
    with_names = _identities(site, visitor, found, how="listed")
    asked = {"q": wanted.text, "state": wanted.state, "sex": wanted.sex, "view": wanted.view, "finding": wanted.finding}
    return page(
        request,
        "studies.html",
        studies=[study_card(study, with_names.get(study.pk)) for study in found],
        total=total,
        live=live,
        number=number,
        pages=pages,
        asked={name: value for name, value in asked.items() if value},
        choices={"state": [state.value for state in InstanceState], "sex": SEXES, "view": VIEWS, "finding": labels},
    )


@router.api_route("/live.json", methods=_READ)
def live_state(site: SiteOf) -> JSONResponse:
    """How many instances are in each state now, why those that are not indexed are not, and the newest study."""
    with site.database.session() as session:
        return JSONResponse(_live(session))


@router.api_route("/open/{study_instance_uid}", methods=_READ)
def open_study(site: SiteOf, visitor: VisitorOf, study_instance_uid: str) -> RedirectResponse:
    """The way in from an archive: to the page of a study that the asker knows by its original UID.

    For identified visitors alone: to others it would say that the study is here, and which pseudonym is whose.
    """
    pseudonym = None
    if visitor.is_identified:
        with site.database.session() as session:
            pseudonym = browse.pseudonym_of_study(session, uid_in_path(study_instance_uid))
    if pseudonym is None:
        raise unknown("There is nothing of this name.")
    return RedirectResponse(f"/studies/{pseudonym}", 303)


@router.api_route("/studies/{study_uid}", methods=_READ)
def show_study(site: SiteOf, visitor: VisitorOf, request: Request, study_uid: str) -> HTMLResponse:
    """One study, with the first of its films that can be shown."""
    return _study_page(site, visitor, request, study_uid, None)


@router.api_route("/studies/{study_uid}/{instance_uid}", methods=_READ)
def show_instance(
    site: SiteOf, visitor: VisitorOf, request: Request, study_uid: str, instance_uid: str
) -> HTMLResponse:
    """One film of a study with its boxes."""
    return _study_page(site, visitor, request, study_uid, instance_uid)


@router.api_route("/studies/{study_uid}/{instance_uid}/drawn", methods=_READ)
def name_drawn(site: SiteOf, request: Request, study_uid: str, instance_uid: str) -> RedirectResponse:
    """From a drawn box to the page of its similar studies: it is compared as the region that it overlaps most."""
    drawn = read_box(request.query_params.get("box", ""))
    with site.database.session() as session:
        study = _study(site, session, study_uid)
    instance = chosen(study.instances, instance_uid)
    marks = [mark for mark in region_marks(instance, view_of(instance), None) if mark.box]
    best = max(marks, key=lambda mark: mark.box.iou(drawn) if mark.box else 0.0, default=None)
    if best is None or best.box is None or best.box.iou(drawn) == 0:
        raise QueryRefused("region-required", "The box overlaps no region of this film: draw it over one.")
    asked = read_asked(best.anatomy, request.query_params)
    return RedirectResponse(asked.path(instance_card(instance).url), 303)


@router.api_route(
    "/studies/{study_uid}/{instance_uid}/{short}", methods=_READ, dependencies=[Depends(needs(Scope.QUERY))]
)
def show_region(
    site: SiteOf, visitor: VisitorOf, request: Request, study_uid: str, instance_uid: str, short: str
) -> HTMLResponse:
    """One region or drawn box of a film, and the studies where it looks most alike."""
    asked = read_asked(anatomy_in_path(short), request.query_params)
    with site.database.session() as session:
        study = _study(site, session, study_uid)
        labels = findings.labels(session)
        destinations = [peer for peer in peers.listing(session) if peer.is_destination]
    instance = chosen(study.instances, instance_uid)
    similar = find_similar(site, visitor, instance, asked)
    view = view_of(instance)
    shown = page(
        request,
        "similar.html",
        study=study_card(study, _identities(site, visitor, [study], how="opened").get(study.pk)),
        instance=instance_card(instance),
        view=view,
        marks=region_marks(instance, view, asked.anatomy),
        asked=asked,
        here=asked.path(instance_card(instance).url),
        similar=similar,
        looked_at=similar.looked_at(asked.rank),
        choices={"view": VIEWS, "sex": SEXES, "finding": labels},
        destinations=destinations if visitor.may_write else [],
    )
    shown.headers["Server-Timing"] = (
        f"search;dur={similar.search_s * 1e3:.1f}, pictures;dur={similar.pictures_s * 1e3:.1f}"
    )
    return shown


def _study_page(
    site: Site, visitor: Visitor, request: Request, study_uid: str, instance_uid: str | None
) -> HTMLResponse:
    with site.database.session() as session:
        study = _study(site, session, study_uid)
    instance = chosen(study.instances, instance_uid) if study.instances else None
    view = view_of(instance) if instance else None
    return page(
        request,
        "study.html",
        study=study_card(study, _identities(site, visitor, [study], how="opened").get(study.pk)),
        instance=instance and instance_card(instance),
        view=view,
        marks=region_marks(instance, view, None) if instance else [],
    )


def _study(site: Site, session: Any, study_uid: str) -> BrowsedStudy:
    study = browse.find_study(session, uid_in_path(study_uid), model_pk=site.active_model_pk(session))
    if study is None:
        raise unknown("There is no such study.")
    return study


def chosen(found: tuple[BrowsedInstance, ...], uid: str | None) -> BrowsedInstance:
    """Return the instance with this UID, or without one the first that has a picture, else the first."""
    if uid is None:
        return next((i for i in found if instance_card(i).has_picture), found[0])
    wanted = next((i for i in found if i.uid == uid), None)
    if wanted is None:
        raise unknown("There is no such film in this study.")
    return wanted


def _identities(site: Site, visitor: Visitor, studies: list[BrowsedStudy], *, how: str) -> dict[int, Identity]:
    """Return whose studies these are, for visitors who may know; that they saw it is written down first."""
    if not visitor.is_identified or not studies:
        return {}
    instance_pks = [instance.pk for study in studies for instance in study.instances]
    with site.writable.session() as session:
        trail.record_shown(session, instance_pks, visitor.caller, how=how)
        return browse.identities(session, [study.pk for study in studies])


def _study_filter(visitor: Visitor, q: str, state: str, sex: str, view: str, finding: str) -> StudyFilter:
    """Return the filter of the list; a value that none of the choices offers is left out."""
    text = "".join(character for character in q if character.isprintable()).strip()[:MAX_TEXT]
    return StudyFilter(
        text=text,
        state=state if state in set(InstanceState) else "",
        sex=sex if sex in SEXES else "",
        view=view if view in VIEWS else "",
        finding=finding.replace("\0", "")[:MAX_TEXT],
        identified=visitor.is_identified,
    )


def _page_number(request: Request) -> int:
    text = request.query_params.get("page", "1")
    if not (text.isascii() and text.isdecimal() and len(text) <= 6):
        raise unknown("There is no such page of the list.")
    return int(text)


def _live(session: Any) -> dict[str, Any]:
    why: dict[str, int] = {}
    for _, reason, count in browse.reasons(session):
        shown = shown_reason(reason)
        why[shown] = why.get(shown, 0) + count
    states = instances.counts_by_state(session)
    return {"states": states, "why": why, "studies": browse.count_studies(session)}


def not_found(request: Request, error: Exception) -> HTMLResponse:
    """Answer with what could not be found, or what else is wrong with a request."""
    assert isinstance(error, HTTPException)
    titles = {404: "Not found", 403: "Not allowed"}
    missing = error.status_code == 404 and error.detail == "Not Found"
    said = "There is no such page." if missing else error.detail
    title = titles.get(error.status_code, "That did not work")
    return page(request, "error.html", error.status_code, title=title, message=said)


def not_understood(request: Request, __: Exception) -> HTMLResponse:
    """Answer to a request whose values have the wrong form, as if the page were not there."""
    return page(request, "error.html", 404, title="Not found", message="There is no such page.")


def refused(request: Request, error: Exception) -> HTMLResponse:
    """Answer to a question that cannot be asked so: what is wrong with it."""
    return page(request, "error.html", 400, title="That cannot be searched", message=str(error))


def unavailable(request: Request, error: Exception) -> HTMLResponse:
    """Answer while the database or the objects cannot be reached."""
    what = "object store" if isinstance(error, StorageUnavailable) else "database"
    message = f"The {what} cannot be reached at the moment. Nothing is lost; try again in a few seconds."
    answer = page(request, "error.html", 503, title="Not available", message=message)
    answer.headers["Retry-After"] = "5"
    return answer


HANDLERS: dict[type[Exception], Any] = {
    HTTPException: not_found,
    RequestValidationError: not_understood,
    QueryRefused: refused,
    DatabaseUnavailable: unavailable,
    StorageUnavailable: unavailable,
}
