"""Instances of the archive with state, regions and pictures. `id` is always the pseudonym: a URL names nobody."""

from collections.abc import Callable
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request, Response

from db import anchors, browse
from db.browse import BrowsedInstance
from regionmir.archive import renditions
from regionmir.core.anatomy import anatomy_by_short
from regionmir.core.errors import InvalidUid, NotIndexable, UnknownAnatomy
from regionmir.core.identifiers import Uid, parse_uid
from regionmir.core.records import InstanceState
from regionmir.query import trail
from regionmir.query.anchor import unknown_anchor
from regionmir.web.api.errors import Refused
from regionmir.web.api.limited import limited
from regionmir.web.api.schemas import InstanceModel, Lookup, Page
from regionmir.web.api.views import PATH, seen_instances
from regionmir.web.callers import Caller, CallerOf, NotAllowed, require
from regionmir.web.pictures import Film, why_withheld
from regionmir.web.signin.caller import Scope
from regionmir.web.site import Site, SiteOf
from regionmir.web.unchanged import kept_picture, kept_small

MOST: Final = 200
"""Instances of one page."""

router = APIRouter(tags=["instances"], dependencies=[Depends(require(Scope.READ)), Depends(limited)])

_PNG: Final = {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}, "description": "PNG"}
_JPEG: Final = {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}, "description": "JPEG"}


@router.get("/instances")
def list_instances(
    site: SiteOf,
    who: CallerOf,
    state: InstanceState | None = None,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 50,
    after: Annotated[str | None, Query(max_length=64, description="`id` of the last one of the page before")] = None,
) -> Page:
    """Return instances in the order in which they came, with state, regions, and why those that are not indexed are
    not."""
    with site.database.session() as session:
        pks = browse.instance_pks(session, state=state, limit=limit + 1, after=None if after is None else _uid(after))
        found = seen_instances(session, site, who, pks[:limit])
    _noted(site, who, list(found), "listed")
    listed = [found[pk] for pk in pks[:limit] if pk in found]
    if len(pks) <= limit or not listed:
        return Page(instances=listed, next=None)
    only = "" if state is None else f"&state={state.value}"
    return Page(instances=listed, next=f"{PATH}/instances?limit={limit}{only}&after={listed[-1].id}")


@router.post("/instances/lookup")
def look_up(site: SiteOf, who: CallerOf, wanted: Lookup) -> list[InstanceModel]:
    """Return the instances that an accession number or an original UID names; for identified callers only.

    To others it would say which pseudonym is whose. They can ask for similar regions by these names all the same.
    """
    if not who.identified:
        raise NotAllowed("this needs a token made with --disclosure identified: it tells pseudonyms of originals")
    with site.database.session() as session:
        studies = anchors.find_anchor(session, wanted.anchor)
        pks = [instance.instance_pk for study in studies for instance in study.instances]
        found = seen_instances(session, site, who, pks)
    if not found:
        raise unknown_anchor()
    _noted(site, who, list(found), "looked up")
    return [found[pk] for pk in sorted(found)]


@router.get("/instances/{uid}")
def show_instance(site: SiteOf, who: CallerOf, uid: str) -> InstanceModel:
    """Return one instance with its regions."""
    with site.database.session() as session:
        pk = _found(site, uid).pk
        found = seen_instances(session, site, who, [pk])
    if pk not in found:
        raise _unknown()
    _noted(site, who, [pk], "opened")
    return found[pk]


@router.get("/instances/{uid}/film.png", response_class=Response, responses={200: _PNG})
def film_picture(request: Request, site: SiteOf, who: CallerOf, uid: str) -> Response:
    """Return the film as viewed."""
    instance = _shown(site, who, uid)
    return _picture(lambda: kept_picture(request, site.pictures.film(instance), "image/png"))


@router.get("/instances/{uid}/thumbnail.jpg", response_class=Response, responses={200: _JPEG})
def thumbnail_picture(request: Request, site: SiteOf, who: CallerOf, uid: str) -> Response:
    """Return the film as viewed, small."""
    with site.database.session() as session:
        film = renditions.pictured(session, _uid(uid))
    if film is None:
        raise _unknown()
    _require_shown(site, who, film)
    return _picture(lambda: kept_small(request, site.pictures.thumbnail(film)))


@router.get("/instances/{uid}/regions/{short}.png", response_class=Response, responses={200: _PNG})
def region_picture(request: Request, site: SiteOf, who: CallerOf, uid: str, short: str) -> Response:
    """Return one region, its box drawn in its surroundings."""
    instance = _shown(site, who, uid)
    try:
        region = instance.region(anatomy_by_short(short))
    except UnknownAnatomy:
        region = None
    if region is None:
        raise Refused(404, "no-region", "This region was not found in the film.")
    return _picture(lambda: kept_picture(request, site.pictures.crop(instance, region.box), "image/png"))


def _found(site: Site, uid: str) -> BrowsedInstance:
    with site.database.session() as session:
        found = browse.find_instance(session, _uid(uid), model_pk=site.active_model_pk(session))
    if found is None:
        raise _unknown()
    return found


def _shown(site: Site, who: Caller, uid: str) -> BrowsedInstance:
    """Return an instance whose pixels this caller may see. Raises `Refused`."""
    found = _found(site, uid)
    _require_shown(site, who, found)
    return found


def _require_shown(site: Site, who: Caller, film: Film) -> None:
    """Note that this caller is shown pixels of a film. Raises `Refused` where it may not see them."""
    if not who.identified and (why := why_withheld(film)):
        raise Refused(404, "withheld", why)
    _noted(site, who, [film.pk], "picture")


def _noted(site: Site, who: Caller, pks: list[int], how: str) -> None:
    if who.identified:
        with site.writable.session() as session:
            trail.record_shown(session, pks, who.asker(), how=how)


def _picture(answer: Callable[[], Response]) -> Response:
    try:
        return answer()
    except NotIndexable as error:
        raise Refused(404, "no-picture", f"This film cannot be drawn: {error.reason}.") from None
    except OSError:
        raise Refused(404, "no-picture", "This film cannot be drawn: its object cannot be read.") from None


def _uid(text: str) -> Uid:
    try:
        return parse_uid(text)
    except InvalidUid:
        raise _unknown() from None


def _unknown() -> Refused:
    return Refused(404, "unknown-instance", "There is no instance with this id; ids are pseudonyms, not original UIDs.")
