"""Pictures over HTTP: films, thumbnails, regions, and the maps that lie over them."""

from collections.abc import Callable

from fastapi import APIRouter
from fastapi.responses import Response

from db import browse
from db.browse import BrowsedInstance
from regionmir.core.errors import NotIndexable
from regionmir.query import trail
from regionmir.web.pictures import why_withheld
from regionmir.web.rendering import anatomy_in_path, uid_in_path, unknown
from regionmir.web.site import Site, SiteOf
from regionmir.web.visitors import VisitorOf

_READ = ["GET", "HEAD"]

router = APIRouter()


@router.api_route("/instances/{uid}/film.png", methods=_READ)
def film_picture(site: SiteOf, visitor: VisitorOf, uid: str) -> Response:
    """The film as viewed; that an identified visitor sees it is written down."""
    instance = shown_instance(site, uid)
    if visitor.is_identified:
        with site.writable.session() as session:
            trail.record_shown(session, [instance.pk], visitor.caller, how="picture", user=visitor.name)
    return _picture(lambda: site.pictures.film(instance), "image/png")


@router.api_route("/instances/{uid}/thumbnail.jpg", methods=_READ)
def thumbnail_picture(site: SiteOf, uid: str) -> Response:
    """The film as viewed, small."""
    instance = shown_instance(site, uid)
    return _picture(lambda: site.pictures.thumbnail(instance), "image/jpeg")


@router.api_route("/instances/{uid}/{short}.jpg", methods=_READ)
def crop_picture(site: SiteOf, uid: str, short: str) -> Response:
    """One region in its surroundings, small."""
    instance = shown_instance(site, uid)
    region = instance.region(anatomy_in_path(short))
    if region is None:
        raise unknown("This region was not found in the film.")
    return _picture(lambda: site.pictures.crop_thumbnail(instance, region.box), "image/jpeg")


def shown_instance(site: Site, uid: str) -> BrowsedInstance:
    """Return an instance whose pixels may be shown; to the others the answer is as if they were not there."""
    with site.database.session() as session:
        instance = browse.find_instance(session, uid_in_path(uid), model_pk=site.active_model_pk(session))
    if instance is None or why_withheld(instance):
        raise unknown("There is no such picture.")
    return instance


def _picture(render: Callable[[], bytes], media_type: str) -> Response:
    try:
        return Response(render(), media_type=media_type, headers={"Cache-Control": "private, max-age=3600"})
    except NotIndexable as error:
        raise unknown(f"This film cannot be drawn: {error.reason}.") from None
    except OSError:
        raise unknown("This film cannot be drawn: its object cannot be read.") from None
