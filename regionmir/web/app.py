"""The web application: composed here, and nowhere else."""

from importlib.resources import files
from pathlib import PurePath

from fastapi import FastAPI, HTTPException
from fastapi.responses import Response
from starlette.types import ASGIApp

from db.engine import Database
from regionmir.archive.archive import Archive, replica_of
from regionmir.core.settings import Settings
from regionmir.queue import CeleryQueue
from regionmir.storage import open_store
from regionmir.storage.uploads import Uploads
from regionmir.web import actions, admin_pages, films, health, metrics, ohif, pages
from regionmir.web.api.application import make_api
from regionmir.web.api.views import PATH as API_PATH
from regionmir.web.callers import find_bearer
from regionmir.web.dicomweb import app as dicomweb
from regionmir.web.guard import Guard, allowed_names
from regionmir.web.measuring import Measured
from regionmir.web.pictures import Pictures
from regionmir.web.rate import RateLimit
from regionmir.web.signin import routes as sign_in_pages
from regionmir.web.signin.door import Door
from regionmir.web.signin.exposure import is_secure, require_safe
from regionmir.web.signin.service import make_sign_in
from regionmir.web.site import Site
from regionmir.web.wakeups import queue_of

_KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_STATIC = {file.name: file.read_bytes() for file in files("regionmir.web").joinpath("static").iterdir()}


_READING = 8
"""Connections kept to read with: a browser asks for six pictures at once, and to connect takes longer than to ask."""


def make_site(settings: Settings) -> Site:
    """Return what the routes use, with no connection made yet: the process starts, and answers, without a database.

    Raises `ConfigurationError` where no database is set, or where others could reach us under no name, without sign-in
    or without TLS.
    """
    require_safe(settings)
    names = allowed_names(settings)
    queue = CeleryQueue(settings.redis_url) if settings.redis_url else None
    url = settings.require_database_url()
    database = Database(
        url, application_name="regionmir web", read_only=True, pool_size=settings.database_pool or _READING
    )
    writable = Database(url, application_name="regionmir web writing", pool_size=settings.database_pool or 16)
    store = open_store(settings)
    replica = replica_of(settings, "web")
    archive = Archive(settings, writable, store, queue_of(queue), settings.pseudonymizer(), replica=replica)
    return Site(
        settings,
        names,
        database,
        Pictures(store, settings.max_pixels, writable, settings.storage_policy),
        queue,
        archive,
        Uploads(settings.uploads_dir),
        RateLimit(settings.redis_url, settings.api_requests_per_minute),
        make_sign_in(settings, find_bearer(database, writable)),
    )


def make_app(site: Site) -> ASGIApp:
    """Return the application on this site."""
    app = FastAPI(title="RegionMIR", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.site = site
    app.mount(dicomweb.PATH, dicomweb.make_dicomweb(site))
    for module in (health, metrics, sign_in_pages, ohif, films, actions, admin_pages, pages):
        app.include_router(module.router)
    app.mount(API_PATH, make_api(site))
    app.add_api_route("/static/{name}", _static, methods=["GET", "HEAD"])
    for error, handler in pages.HANDLERS.items():
        app.add_exception_handler(error, handler)
    return Measured(Guard(Door(app, site.sign_in), site.names, secure=is_secure(site.settings)))


def _static(name: str) -> Response:
    kind = _KINDS.get(PurePath(name).suffix)
    if kind is None or name not in _STATIC:
        raise HTTPException(404)
    return Response(_STATIC[name], media_type=kind, headers={"Cache-Control": "private, max-age=300"})
