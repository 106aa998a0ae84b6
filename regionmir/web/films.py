"""Pictures over HTTP: films, thumbnails, regions, and the maps that lie over them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from db import browse
from db.browse import BrowsedInstance
from db.pictures import Pictured
from regionmir.archive import renditions
from regionmir.core.anatomy import Anatomy
from regionmir.core.errors import NotIndexable
from regionmir.query import trail
from regionmir.web.pictures import Small, why_withheld
from regionmir.web.rendering import anatomy_in_path, uid_in_path, unknown
from regionmir.web.signin.caller import Scope, needs
from regionmir.web.site import Site, SiteOf
from regionmir.web.unchanged import kept_picture, kept_small
from regionmir.web.visitors import Visitor, VisitorOf

_READ = ["GET", "HEAD"]
_Film = TypeVar("_Film", BrowsedInstance, Pictured)

router = APIRouter(dependencies=[Depends(needs(Scope.READ))])


@router.api_route("/instances/{uid}/film.png", methods=_READ)
def film_picture(request: Request, site: SiteOf, visitor: VisitorOf, uid: str) -> Response:
    """The film as viewed; that an identified visitor sees it is written down."""
    instance = shown_instance(site, uid)
    _record_shown(site, visitor, instance.pk, "picture")
    with _drawing():
        return kept_picture(request, site.pictures.film(instance), "image/png")


@router.api_route("/instances/{uid}/film.jpg", methods=_READ)
def film_sketch(request: Request, site: SiteOf, visitor: VisitorOf, uid: str) -> Response:
    """The film as viewed, coarse and soon: what a page shows until the whole film has come."""
    film = _pictured(site, uid)
    _record_shown(site, visitor, film.pk, "small picture")
    return _small_picture(request, lambda: site.pictures.sketch(film))


@router.api_route("/instances/{uid}/thumbnail.jpg", methods=_READ)
def thumbnail_picture(request: Request, site: SiteOf, uid: str) -> Response:
    """The film as viewed, small."""
    film = _pictured(site, uid)
    return _small_picture(request, lambda: site.pictures.thumbnail(film))


@router.api_route("/instances/{uid}/{short}.jpg", methods=_READ)
def crop_picture(request: Request, site: SiteOf, uid: str, short: str) -> Response:
    """One region in its surroundings, small."""
    film = _pictured(site, uid, anatomy_in_path(short))
    box = film.box
    if box is None:
        raise unknown("This region was not found in the film.")
    return _small_picture(request, lambda: site.pictures.crop_thumbnail(film, box))


def shown_instance(site: Site, uid: str) -> BrowsedInstance:
    """Return an instance whose pixels may be shown; to the others the answer is as if they were not there."""
    with site.database.session() as session:
        found = browse.find_instance(session, uid_in_path(uid), model_pk=site.active_model_pk(session))
    return _shown(found)


def _pictured(site: Site, uid: str, anatomy: Anatomy | None = None) -> Pictured:
    """Return what such an instance's small pictures are drawn from."""
    with site.database.session() as session:
        found = renditions.pictured(session, uid_in_path(uid), anatomy)
    return _shown(found)


def _record_shown(site: Site, visitor: Visitor, pk: int, how: str) -> None:
    if visitor.is_identified:
        with site.writable.session() as session:
            trail.record_shown(session, [pk], visitor.caller, how=how)


def _shown(found: _Film | None) -> _Film:
    if found is None or why_withheld(found):
        raise unknown("There is no such picture.")
    return found


def _small_picture(request: Request, small: Callable[[], Small]) -> Response:
    with _drawing():
        return kept_small(request, small())


@contextmanager
def _drawing() -> Iterator[None]:
    """Answer with a page that says why a film cannot be drawn."""
    try:
        yield
    except NotIndexable as error:
        raise unknown(f"This film cannot be drawn: {error.reason}.") from None
    except OSError:
        raise unknown("This film cannot be drawn: its object cannot be read.") from None
