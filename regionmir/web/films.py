"""Pictures over HTTP: films, thumbnails, regions, and the maps that lie over them."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import Response

from db import browse
from db.browse import BrowsedInstance
from regionmir.archive import renditions
from regionmir.core.errors import NotIndexable
from regionmir.query import trail
from regionmir.web.pictures import why_withheld
from regionmir.web.rendering import anatomy_in_path, uid_in_path, unknown
from regionmir.web.site import Site, SiteOf
from regionmir.web.unchanged import kept_picture
from regionmir.web.visitors import VisitorOf

if TYPE_CHECKING:
    from db.engine import Session

_READ = ["GET", "HEAD"]

router = APIRouter()


@router.api_route("/instances/{uid}/film.png", methods=_READ)
def film_picture(request: Request, site: SiteOf, visitor: VisitorOf, uid: str) -> Response:
    """The film as viewed; that an identified visitor sees it is written down."""
    instance = shown_instance(site, uid)
    if visitor.is_identified:
        with site.writable.session() as session:
            trail.record_shown(session, [instance.pk], visitor.caller, how="picture", user=visitor.name)
    return _picture(request, lambda: site.pictures.film(instance), "image/png")


@router.api_route("/instances/{uid}/thumbnail.jpg", methods=_READ)
def thumbnail_picture(request: Request, site: SiteOf, uid: str) -> Response:
    """The film as viewed, small."""
    instance, kept = _small(site, uid)
    return _picture(request, lambda: site.pictures.thumbnail(instance, kept), "image/jpeg")


@router.api_route("/instances/{uid}/{short}.jpg", methods=_READ)
def crop_picture(request: Request, site: SiteOf, uid: str, short: str) -> Response:
    """One region in its surroundings, small."""
    instance, kept = _small(site, uid)
    region = instance.region(anatomy_in_path(short))
    if region is None:
        raise unknown("This region was not found in the film.")
    return _picture(request, lambda: site.pictures.crop_thumbnail(instance, region.box, kept), "image/jpeg")


def shown_instance(site: Site, uid: str) -> BrowsedInstance:
    """Return an instance whose pixels may be shown; to the others the answer is as if they were not there."""
    with site.database.session() as session:
        return _shown(site, session, uid)


def _small(site: Site, uid: str) -> tuple[BrowsedInstance, bytes | None]:
    """Return such an instance and its rendition, where one is kept."""
    with site.database.session() as session:
        instance = _shown(site, session, uid)
        return instance, renditions.find(session, instance.pk)


def _shown(site: Site, session: "Session", uid: str) -> BrowsedInstance:
    instance = browse.find_instance(session, uid_in_path(uid), model_pk=site.active_model_pk(session))
    if instance is None or why_withheld(instance):
        raise unknown("There is no such picture.")
    return instance


def _picture(request: Request, render: Callable[[], bytes], media_type: str) -> Response:
    try:
        return kept_picture(request, render(), media_type)
    except NotIndexable as error:
        raise unknown(f"This film cannot be drawn: {error.reason}.") from None
    except OSError:
        raise unknown("This film cannot be drawn: its object cannot be read.") from None
