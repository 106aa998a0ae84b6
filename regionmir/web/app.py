"""The web application: composed here, and nowhere else."""

from importlib.resources import files

from fastapi import FastAPI
from fastapi.responses import Response
from starlette.types import ASGIApp

from db.engine import Database
from regionmir.archive.archive import Archive
from regionmir.core.settings import Settings
from regionmir.queue import CeleryQueue
from regionmir.storage import FileStore
from regionmir.web import health, metrics, pages
from regionmir.web.caller import CallerSource, anonymous
from regionmir.web.dicomweb import app as dicomweb
from regionmir.web.guard import Guard, allowed_names
from regionmir.web.pictures import Pictures
from regionmir.web.site import Site
from regionmir.web.wakeups import queue_of

_STYLE = files("regionmir.web").joinpath("static/style.css").read_bytes()


def make_site(settings: Settings) -> Site:
    """Return what the routes use, with no connection made yet: the process starts, and answers, without a database.

    Raises `ConfigurationError` where no database is set, or where others could reach us under no name.
    """
    names = allowed_names(settings)
    queue = CeleryQueue(settings.redis_url) if settings.redis_url else None
    database = Database(settings.require_database_url(), application_name="regionmir web", read_only=True)
    store = FileStore(settings.data_dir)
    writing = Database(settings.require_database_url(), application_name="regionmir dicomweb")
    archive = Archive(settings, writing, store, queue_of(queue), settings.pseudonymizer())
    return Site(settings, names, database, Pictures(store, settings.max_pixels), queue, archive)


def make_app(site: Site, caller_source: CallerSource = anonymous) -> ASGIApp:
    """Return the application on this site; `caller_source` says who makes a request."""
    app = FastAPI(title="RegionMIR", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.site, app.state.caller_source = site, caller_source
    app.mount(dicomweb.PATH, dicomweb.make_dicomweb(site, caller_source))
    for router in (health.router, metrics.router, pages.router):
        app.include_router(router)
    app.add_api_route("/style.css", _style, methods=["GET", "HEAD"])
    for error, handler in pages.HANDLERS.items():
        app.add_exception_handler(error, handler)
    return Guard(app, site.names)


def _style() -> Response:
    return Response(_STYLE, media_type="text/css", headers={"Cache-Control": "private, max-age=300"})
