"""Is this process alive, and can it answer?"""

from functools import cache

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse

from db import generations, migrate
from regionmir.core.errors import RegionMirError
from regionmir.web.site import Site, SiteOf

router = APIRouter()


@router.api_route("/healthz", methods=["GET", "HEAD"])
def healthz() -> PlainTextResponse:
    """200 while the process answers at all."""
    return PlainTextResponse("ok\n")


@router.api_route("/readyz", methods=["GET", "HEAD"])
def readyz(site: SiteOf) -> JSONResponse:
    """200 if pages can be answered, else 503 with what is missing."""
    missing = what_is_missing(site)
    return JSONResponse({"ready": not missing, "missing": missing}, 503 if missing else 200)


def what_is_missing(site: Site) -> dict[str, str]:
    """Return for each part that is not ready what to know about it; the parts after a missing one are not looked at."""
    try:
        revision = migrate.current(site.database)
        if revision != _newest_schema():
            return {"schema": f"{revision or 'none'}, needed is {_newest_schema()}: run `regionmir db upgrade`"}
        with site.database.session() as session:
            if generations.active(session) is None:
                return {"model": "none is registered: an index worker registers one when it starts"}
    except RegionMirError as error:
        return {"database": str(error)}
    return {}


@cache
def _newest_schema() -> str:
    return migrate.head()
