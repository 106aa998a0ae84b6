"""The DICOMweb service as an application of its own: mounted at `/dicom-web`, its errors are problem documents."""

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from regionmir.core.errors import RegionMirError
from regionmir.web.dicomweb import retrieving, searching, storing
from regionmir.web.dicomweb.problems import Contained, error_answer, routing_problem
from regionmir.web.dicomweb.service import SIMILAR, Service
from regionmir.web.site import Site

PATH = "/dicom-web"
SCOPED = SIMILAR + "/{anchor}/{region}"


def make_dicomweb(site: Site) -> ASGIApp:
    """Return the service on this site. Studies and what is below them are also in the similarity scopes, to be read."""
    app = FastAPI(title="RegionMIR DICOMweb", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.state.site, app.state.service = site, Service(site.archive)
    app.include_router(storing.router)
    for prefix in ("", SIMILAR, SCOPED):
        for router in (searching.router, retrieving.router):
            app.include_router(router, prefix=prefix)
    app.add_exception_handler(HTTPException, routing_problem)
    for kind in (RegionMirError, Exception):
        app.add_exception_handler(kind, error_answer)
    return Contained(app)
