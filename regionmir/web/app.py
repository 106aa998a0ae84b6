"""The web application: composed here, and nowhere else."""

from importlib.resources import files
from pathlib import PurePath

from fastapi import FastAPI, HTTPException
from fastapi.responses import Response
from starlette.types import ASGIApp

from db.engine import Database
from regionmir.core.settings import Settings
from regionmir.queue import CeleryQueue
from regionmir.storage import FileStore
from regionmir.web import actions, admin_pages, films, health, metrics, pages
from regionmir.web.guard import Guard, allowed_names
from regionmir.web.pictures import Pictures
from regionmir.web.site import Site

_KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_STATIC = {file.name: file.read_bytes() for file in files("regionmir.web").joinpath("static").iterdir()}


def make_site(settings: Settings) -> Site:
    """Return what the routes use, with no connection made yet: the process starts, and answers, without a database.

    Raises `ConfigurationError` where no database is set, or where others could reach us under no name.
    """
    names = allowed_names(settings)
    queue = CeleryQueue(settings.redis_url) if settings.redis_url else None
    url = settings.require_database_url()
    database = Database(url, application_name="regionmir web", read_only=True)
    writable = Database(url, application_name="regionmir web forms", pool_size=2)
    pictures = Pictures(FileStore(settings.data_dir), settings.max_pixels)
    return Site(settings, names, database, writable, pictures, queue)


def make_app(site: Site) -> ASGIApp:
    """Return the application on this site."""
    app = FastAPI(title="RegionMIR", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.site = site
    for module in (health, metrics, films, actions, admin_pages, pages):
        app.include_router(module.router)
    app.add_api_route("/static/{name}", _static, methods=["GET", "HEAD"])
    for error, handler in pages.HANDLERS.items():
        app.add_exception_handler(error, handler)
    return Guard(app, site.names)


def _static(name: str) -> Response:
    kind = _KINDS.get(PurePath(name).suffix)
    if kind is None or name not in _STATIC:
        raise HTTPException(404)
    return Response(_STATIC[name], media_type=kind, headers={"Cache-Control": "private, max-age=300"})
