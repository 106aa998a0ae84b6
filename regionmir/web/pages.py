"""The pages: a list of studies, a study with its boxes, and for one region the similar studies beside it."""

from collections.abc import Callable
from functools import cache
from typing import Any

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException

from db import browse, generations, instances
from db.browse import BrowsedInstance
from regionmir.core.anatomy import Anatomy, anatomy_by_short
from regionmir.core.errors import DatabaseUnavailable, InvalidUid, NotIndexable, StorageUnavailable, UnknownAnatomy
from regionmir.core.identifiers import Uid, parse_uid
from regionmir.web.cards import instance_card, region_marks, study_card
from regionmir.web.pictures import why_withheld
from regionmir.web.similar import find_similar
from regionmir.web.site import Site, SiteOf

STUDIES_PER_PAGE = 24
_MOST_PAGES = 100_000
_READ = ["GET", "HEAD"]

router = APIRouter()


@router.api_route("/", methods=_READ)
def list_studies(site: SiteOf, page: int = 1) -> HTMLResponse:
    """The studies, newest first, with state and a thumbnail each."""
    with site.database.session() as session:
        total = browse.count_studies(session)
        pages = max(1, -(-total // STUDIES_PER_PAGE))
        if not 1 <= page <= min(pages, _MOST_PAGES):
            raise _unknown("There is no such page of the list.")
        found = browse.list_studies(
            session,
            model_pk=site.active_model_pk(session),
            limit=STUDIES_PER_PAGE,
            offset=(page - 1) * STUDIES_PER_PAGE,
        )
        states = instances.counts_by_state(session)
    cards = [study_card(study) for study in found]
    return _page("studies.html", studies=cards, total=total, states=states, page=page, pages=pages)


@router.api_route("/studies/{study_uid}", methods=_READ)
def show_study(site: SiteOf, request: Request, study_uid: str) -> HTMLResponse:
    """One study, with the first of its films that can be shown."""
    return _study_page(site, request, study_uid, None, None)


@router.api_route("/open/{study_instance_uid}", methods=_READ)
def open_study(site: SiteOf, study_instance_uid: str) -> RedirectResponse:
    """The way in from an archive: to the page of a study that the asker knows by its original UID."""
    with site.database.session() as session:
        pseudonym = browse.pseudonym_of_study(session, _uid(study_instance_uid))
    if pseudonym is None:
        raise _unknown("There is no such study here.")
    return RedirectResponse(f"/studies/{pseudonym}", 303)


@router.api_route("/studies/{study_uid}/{instance_uid}", methods=_READ)
def show_instance(site: SiteOf, request: Request, study_uid: str, instance_uid: str) -> HTMLResponse:
    """One film of a study with its boxes."""
    return _study_page(site, request, study_uid, instance_uid, None)


@router.api_route("/studies/{study_uid}/{instance_uid}/{short}", methods=_READ)
def show_region(site: SiteOf, request: Request, study_uid: str, instance_uid: str, short: str) -> HTMLResponse:
    """One region of a film, and the studies where it looks most alike."""
    return _study_page(site, request, study_uid, instance_uid, _anatomy(short))


@router.api_route("/instances/{uid}/film.png", methods=_READ)
def film_picture(site: SiteOf, uid: str) -> Response:
    """The film as viewed."""
    instance = _shown_instance(site, uid)
    return _picture(lambda: site.pictures.film(instance), "image/png")


@router.api_route("/instances/{uid}/thumbnail.jpg", methods=_READ)
def thumbnail_picture(site: SiteOf, uid: str) -> Response:
    """The film as viewed, small."""
    instance = _shown_instance(site, uid)
    return _picture(lambda: site.pictures.thumbnail(instance), "image/jpeg")


@router.api_route("/instances/{uid}/{short}.png", methods=_READ)
def crop_picture(site: SiteOf, uid: str, short: str) -> Response:
    """One region, its box drawn in its surroundings."""
    instance = _shown_instance(site, uid)
    region = instance.region(_anatomy(short))
    if region is None:
        raise _unknown("This region was not found in the film.")
    return _picture(lambda: site.pictures.crop(instance, region.box), "image/png")


def _picture(render: Callable[[], bytes], media_type: str) -> Response:
    try:
        return Response(render(), media_type=media_type, headers={"Cache-Control": "private, max-age=3600"})
    except NotIndexable as error:
        raise _unknown(f"This film cannot be drawn: {error.reason}.") from None
    except OSError:
        raise _unknown("This film cannot be drawn: its object cannot be read.") from None


def _study_page(
    site: Site, request: Request, study_uid: str, instance_uid: str | None, anatomy: Anatomy | None
) -> HTMLResponse:
    with site.database.session() as session:
        model = generations.active(session)
        study = browse.find_study(session, _uid(study_uid), model_pk=model.pk if model else None)
        if study is None:
            raise _unknown("There is no such study.")
        instance = _chosen(study.instances, instance_uid)
        similar = None
        if anatomy is not None and instance is not None:
            address = request.client.host if request.client else ""
            similar = find_similar(session, instance, anatomy, address, site.settings.default_k)
    view = None if instance is None else site.pictures.view(instance)
    return _page(
        "study.html",
        study=study_card(study),
        instance=instance and instance_card(instance),
        view=view,
        marks=region_marks(instance, view, anatomy) if instance else [],
        anatomy=anatomy,
        similar=similar,
    )


def _chosen(found: tuple[BrowsedInstance, ...], uid: str | None) -> BrowsedInstance | None:
    """Return the instance with this UID, or without one the first that has a picture, else the first."""
    if uid is None:
        return next((i for i in found if instance_card(i).has_picture), found[0] if found else None)
    chosen = next((i for i in found if i.uid == uid), None)
    if chosen is None:
        raise _unknown("There is no such film in this study.")
    return chosen


def _shown_instance(site: Site, uid: str) -> BrowsedInstance:
    """Return an instance whose pixels may be shown; to the others the answer is as if they were not there."""
    with site.database.session() as session:
        instance = browse.find_instance(session, _uid(uid), model_pk=site.active_model_pk(session))
    if instance is None or why_withheld(instance):
        raise _unknown("There is no such picture.")
    return instance


def _uid(text: str) -> Uid:
    try:
        return parse_uid(text)
    except InvalidUid:
        raise _unknown("There is nothing of this name.") from None


def _anatomy(short: str) -> Anatomy:
    try:
        return anatomy_by_short(short)
    except UnknownAnatomy:
        raise _unknown("There is no region of this name.") from None


def _unknown(message: str) -> HTTPException:
    return HTTPException(404, message)


def not_found(_: Request, error: Exception) -> HTMLResponse:
    """Answer with what could not be found, or what else is wrong with a request."""
    assert isinstance(error, HTTPException)
    said = error.detail if error.status_code == 404 and error.detail != "Not Found" else "There is no such page."
    return _page("error.html", status=error.status_code, title="Not found", message=said)


def not_understood(_: Request, __: Exception) -> HTMLResponse:
    """Answer to a request whose values have the wrong form, as if the page were not there."""
    return _page("error.html", status=404, title="Not found", message="There is no such page.")


def unavailable(_: Request, error: Exception) -> HTMLResponse:
    """Answer while the database or the objects cannot be reached."""
    what = "object store" if isinstance(error, StorageUnavailable) else "database"
    message = f"The {what} cannot be reached at the moment. Nothing is lost; try again in a few seconds."
    page = _page("error.html", status=503, title="Not available", message=message)
    page.headers["Retry-After"] = "5"
    return page


HANDLERS: dict[type[Exception], Any] = {
    HTTPException: not_found,
    RequestValidationError: not_understood,
    DatabaseUnavailable: unavailable,
    StorageUnavailable: unavailable,
}


@cache
def _templates() -> Environment:
    environment = Environment(loader=PackageLoader("regionmir.web"), autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    return environment


def _page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    return HTMLResponse(_templates().get_template(template).render(status=status, **values), status)
