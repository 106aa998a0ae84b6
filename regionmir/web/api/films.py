"""Films that are uploaded to ask for similar ones: DICOM, PNG or JPEG, as the body of the request."""

from pathlib import Path
from typing import Annotated, BinaryIO, Final

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as PathParameter
from starlette.concurrency import run_in_threadpool

from db import uploads
from db.uploads import UploadedFilm
from regionmir.core.errors import BrokenImage, InvalidHeader
from regionmir.core.header import read_header
from regionmir.core.identifiers import parse_uid
from regionmir.core.records import InstanceHeader
from regionmir.pixels.guarded import attributes, film_of_picture
from regionmir.pixels.quiet import quiet_pydicom
from regionmir.web.api.errors import Refused
from regionmir.web.api.limited import limited
from regionmir.web.api.schemas import FilmModel
from regionmir.web.api.views import seen_film
from regionmir.web.callers import CallerOf, require
from regionmir.web.signin.caller import Scope
from regionmir.web.site import Site, SiteOf

DICOM: Final = "application/dicom"
PICTURES: Final = frozenset({"image/png", "image/jpeg"})
LONGEST_WAIT_S: Final = 10

router = APIRouter(tags=["films"], dependencies=[Depends(require(Scope.WRITE)), Depends(limited)])

_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
_BODY: Final = {
    "requestBody": {"required": True, "content": dict.fromkeys((DICOM, *sorted(PICTURES)), _BINARY)},
}
_NOT_YET: Final = {"model": FilmModel, "description": "not indexed yet: ask for the film again"}
_CODE = Annotated[str, PathParameter(pattern="^[0-9a-f]{32}$", description="`id` of the film")]
_WAIT = Annotated[float, Query(ge=0, le=LONGEST_WAIT_S, description="seconds to wait for it to be indexed")]


@router.post("/films", status_code=201, responses={202: _NOT_YET}, openapi_extra=_BODY)
async def upload(site: SiteOf, who: CallerOf, request: Request, response: Response, wait: _WAIT = 5) -> FilmModel:
    """Upload a film, the bytes of a DICOM object (Part 10), a PNG or a JPEG, and return what was found in it.

    It is compared, never filed: nobody else can see it, its object is deleted once it is indexed, and its regions when
    it expires. Of its attributes only who may be its patient is kept, so that the same patient is no hit.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in {DICOM, *PICTURES}:
        raise Refused(415, "unsupported-type", f"Send a film as {DICOM}, image/png or image/jpeg.")
    with site.uploads.new() as (code, file):
        async for chunk in request.stream():
            await run_in_threadpool(file.write, chunk)
        await run_in_threadpool(_file, site, code, who.name, kind, file)
    film = await run_in_threadpool(_indexed, site, code, who.name, wait)
    response.headers["Location"] = f"{request.scope['root_path']}/films/{code}"
    response.status_code = 201 if film.is_final else 202
    return seen_film(film)


@router.get("/films/{code}")
def show_film(site: SiteOf, who: CallerOf, code: _CODE, wait: _WAIT = 0) -> FilmModel:
    """Return what has become of an uploaded film."""
    found = uploads.wait(site.writable, code, who.name, wait)
    if found is None:
        raise _unknown()
    return seen_film(found)


@router.delete("/films/{code}", status_code=204, response_class=Response)
def forget_film(site: SiteOf, who: CallerOf, code: _CODE) -> None:
    """Forget an uploaded film now."""
    with site.writable.session() as session:
        known = uploads.forget(session, code, who.name)
    if not known:
        raise _unknown()
    site.uploads.remove(code)


def _file(site: Site, code: str, owner: str, kind: str, file: BinaryIO) -> None:
    """Make an upload a film that waits. Raises `BrokenImage`."""
    file.flush()
    path = site.uploads.path(code)
    if kind in PICTURES:
        _dicomize(path)
    header = _header(path, site.settings.max_pixels)
    with site.writable.session() as session:
        uploads.add(session, code, owner=owner, header=header, lifetime_s=site.settings.upload_keep_s)


def _dicomize(path: Path) -> None:
    """Turn a picture into the object that `regionmir dicomize` would make of it, in its place."""
    path.write_bytes(film_of_picture(path))


def _header(path: Path, max_pixels: int) -> InstanceHeader:
    """Return the header of a DICOM object. Raises `BrokenImage`."""
    dataset = attributes(path, max_pixels=max_pixels)
    with quiet_pydicom():
        try:
            return read_header(dataset, parse_uid(str(dataset.file_meta.get("TransferSyntaxUID", ""))))
        except InvalidHeader as error:
            raise BrokenImage(str(error)) from None
        except Exception as error:  # pydicom raises many kinds for damaged files; a missing meta group is one
            raise BrokenImage("data set unreadable", type(error).__name__) from None


def _indexed(site: Site, code: str, owner: str, wait_s: float) -> UploadedFilm:
    site.wake_search()
    found = uploads.wait(site.writable, code, owner, wait_s)
    if found is None:
        raise _unknown()
    return found


def _unknown() -> Refused:
    return Refused(404, "unknown-film", "There is no uploaded film with this id; it may have expired: upload it again.")
