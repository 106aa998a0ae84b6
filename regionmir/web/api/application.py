"""The API as an application of its own, mounted at /api/v1: its errors are problems, not pages."""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.types import ASGIApp

import regionmir
from regionmir.web.api import films, instances, queries, removals, service
from regionmir.web.api.contained import Contained
from regionmir.web.api.errors import add_handlers
from regionmir.web.api.schemas import Problem
from regionmir.web.api.views import PATH
from regionmir.web.problems import MEDIA_TYPE
from regionmir.web.site import Site

_DESCRIPTION: Final = (
    "Which studies have a region that looks like this one? Similarity is a cosine, never a probability. "
    "Ids are pseudonyms, whoever asks; identified callers are told the originals beside them."
)
_REF: Final = "#/components/schemas/{model}"


def make_api(site: Site) -> ASGIApp:
    """Return the API on this site."""
    api = FastAPI(
        title="RegionMIR API",
        version=regionmir.__version__,
        description=_DESCRIPTION,
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    api.state.site = site
    for module in (service, queries, instances, films, removals):
        api.include_router(module.router)
    add_handlers(api)
    api.openapi = lambda: _described(api)  # type: ignore[method-assign]
    return Contained(api, upload_path="/films", max_upload_bytes=site.settings.max_upload_bytes)


def _described(api: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document: every error is a problem, and most paths take a bearer token."""
    if api.openapi_schema is None:
        about: dict[str, Any] = {"title": api.title, "version": api.version, "description": api.description}
        found = get_openapi(**about, routes=api.routes, servers=[{"url": PATH}])
        parts = found["components"]
        parts["schemas"]["Problem"] = Problem.model_json_schema(ref_template=_REF)
        for unused in ("HTTPValidationError", "ValidationError"):
            parts["schemas"].pop(unused, None)
        parts["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        found["security"] = [{"bearer": []}, {}]
        problems = {"$ref": _REF.format(model="Problem")}
        error = {"description": "what is wrong and what to do", "content": {MEDIA_TYPE: {"schema": problems}}}
        for operation in (one for path in found["paths"].values() for one in path.values()):
            operation["responses"].pop("422", None)
            operation["responses"] |= {"4XX": error, "5XX": error}
        api.openapi_schema = found
    return api.openapi_schema
