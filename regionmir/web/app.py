"""The web application: composed here, and nowhere else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files

from fastapi import FastAPI
from fastapi.responses import Response
from starlette.types import ASGIApp

from db.engine import Database
from regionmir.core.settings import Settings
from regionmir.queue import CeleryQueue
from regionmir.storage import FileStore
from regionmir.web import health, metrics, pages
from regionmir.web.guard import Guard, allowed_names
from regionmir.web.pictures import Pictures
from regionmir.web.site import Site

_STYLE = files("regionmir.web").joinpath("static/style.css").read_bytes()


def make_app(settings: Settings) -> ASGIApp:
    """Return the application, with no connection made yet: it starts, and says what is missing, without a database.

    Raises `ConfigurationError` where it would be reachable by others without being told under which names.
    """
    names = allowed_names(settings)
    queue = CeleryQueue(settings.redis_url) if settings.redis_url else None
    database = Database(settings.require_database_url(), application_name="regionmir web", read_only=True)
    pictures = Pictures(FileStore(settings.data_dir), settings.max_pixels)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        database.close()
        if queue is not None:
            queue.close()

    app = FastAPI(title="RegionMIR", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.state.site = Site(settings, database, pictures, queue)
    for router in (health.router, metrics.router, pages.router):
        app.include_router(router)
    app.add_api_route("/style.css", _style, methods=["GET", "HEAD"])
    for error, handler in pages.HANDLERS.items():
        app.add_exception_handler(error, handler)
    return Guard(app, names)


def _style() -> Response:
    return Response(_STYLE, media_type="text/css", headers={"Cache-Control": "private, max-age=300"})
