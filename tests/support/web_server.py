"""The web application on a free port of loopback, with films in its archive, asked as whom a test wants."""

import datetime as dt
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from pydicom.dataset import Dataset
from starlette.types import Receive, Scope, Send

from db import api_tokens
from db.engine import Database
from regionmir.core.records import Disclosure
from regionmir.core.settings import Settings
from regionmir.storage import FileStore
from regionmir.web.app import make_app, make_site
from regionmir.web.site import Site
from tests.support.fake_model import FakeModel
from tests.support.filing import file_film
from tests.support.ports import free_port
from workers.indexer import Indexer

SITE_KEY = "57" * 32
"""The same in every run, so that dates are shifted the same way."""

SCOPES = ("query", "read", "write")


@dataclass
class WebServer:
    """A web process in a thread. Requests come without sign-in, or with `token`, which may be changed at any time."""

    url: str
    site: Site
    token: str = ""

    def sign_in(
        self, name: str = "reader", *, disclosure: Disclosure = Disclosure.IDENTIFIED, scopes: Collection[str] = SCOPES
    ) -> None:
        """Have requests from now on carry a token of this name."""
        with self.site.archive.database.session() as session:
            day = dt.timedelta(days=1)
            made = api_tokens.add(session, name, scopes=scopes, disclosure=disclosure, lifetime=day)
        assert made is not None
        self.token = made

    @property
    def dicomweb(self) -> str:
        return f"{self.url}/dicom-web"

    @property
    def store(self) -> FileStore:
        return self.site.archive.store

    def file(self, *films: Dataset) -> None:
        """File films as the node does."""
        for film in films:
            file_film(self.site.archive.database, self.store, film, pseudonymizer=self.site.archive.pseudonymizer)

    def index(self) -> None:
        """Index what waits, with the fake model."""
        indexer = Indexer(self.site.archive.database, self.store, FakeModel(), 16, lease_s=60)
        indexer.drain()
        indexer.close()


@contextmanager
def web_server(folder: Path, database_url: str, **settings: Any) -> Iterator[WebServer]:
    """Serve until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "site.key").write_text(SITE_KEY)
    site = make_site(Settings(data_dir=folder, database_url=database_url, redis_url=None, **settings))
    served = WebServer(f"http://127.0.0.1:{free_port()}", site)
    app = make_app(site)

    async def with_token(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and served.token:
            scope["headers"] = [*scope["headers"], (b"authorization", f"Bearer {served.token}".encode())]
        await app(scope, receive, send)

    port = int(served.url.rpartition(":")[2])
    config = uvicorn.Config(with_token, host="127.0.0.1", port=port, log_config=None, access_log=False, ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started:
        assert thread.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    try:
        yield served
    finally:
        server.should_exit = True
        thread.join(30)
        site.close()


def url_of(database: Database) -> str:
    """Return the URL that settings take."""
    return database.url.set(drivername="postgresql").render_as_string(hide_password=False)
