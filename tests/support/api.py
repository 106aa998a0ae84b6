"""The JSON API over a database with drawn films, an indexer of the fake model that looks for work, and tokens."""

import datetime as dt
import socket
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from pydicom.dataset import Dataset
from sqlalchemy import make_url
from starlette.types import ASGIApp

from db import api_tokens
from db.engine import Database
from regionmir.core.periodic import Periodic
from regionmir.core.records import Disclosure
from regionmir.core.settings import Settings
from regionmir.storage import FileStore
from regionmir.storage.uploads import Uploads
from regionmir.web.app import make_app, make_site
from tests.support.fake_model import FakeModel
from tests.support.filing import PSEUDONYMIZER, file_film
from tests.support.web_client import WebClient
from workers.indexer import Indexer

ALL_SCOPES = ("query", "read", "write")
_POLL_S = 0.05


@dataclass
class Api:
    """The application, and who asks it: a token each of an identified and of a pseudonymous caller."""

    app: ASGIApp
    database: Database
    folder: Path
    identified: str
    pseudonymous: str

    @property
    def store(self) -> FileStore:
        return FileStore(self.folder)

    def request(self, method: str, path: str, token: str = "", **options: Any) -> httpx.Response:
        """Send a request below /api/v1."""
        headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **options.pop("headers", {})}
        return WebClient(self.app).request(method, f"/api/v1{path}", headers, **options)

    def ask(self, token: str = "", **question: Any) -> httpx.Response:
        """Ask for similar regions."""
        return self.request("POST", "/queries", token, json=question)

    def upload(self, content: Any, kind: str = "application/dicom", token: str = "") -> httpx.Response:
        """Upload a film and wait for what becomes of it."""
        headers, token = {"Content-Type": kind}, token or self.pseudonymous
        found = self.request("POST", "/films?wait=10", token, content=content, headers=headers)
        for _ in range(10):
            if found.status_code != 202:
                break
            found = self.request("GET", f"/films/{found.json()['id']}?wait=10", token)
        return found

    def token(
        self, name: str, *, scopes: Collection[str] = ALL_SCOPES, days: float = 1, identified: bool = False
    ) -> str:
        """Make a token."""
        disclosure = Disclosure.IDENTIFIED if identified else Disclosure.PSEUDONYMOUS
        with self.database.session() as session:
            made = api_tokens.add(session, name, scopes=scopes, disclosure=disclosure, lifetime=dt.timedelta(days=days))
        assert made is not None
        return made


def instance_id(film: Dataset) -> str:
    """Return the pseudonymous id of a film that was filed."""
    return PSEUDONYMIZER.uid("instance", film.SOPInstanceUID)


@contextmanager
def running_api(url: str, folder: Path, films: Collection[Dataset], **settings: Any) -> Iterator[Api]:
    """Serve films that are indexed; drawn boxes and uploads are embedded as they come."""
    database = Database(url, application_name="test")
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    site = make_site(Settings(data_dir=folder, database_url=plain, **settings))
    store = FileStore(folder)
    for film in films:
        file_film(database, store, film)
    indexer = Indexer(database, store, FakeModel(), 16, lease_s=60, uploads=Uploads(folder / "uploads"))
    indexer.drain()
    looking = Periodic("embed", _POLL_S, indexer.embed_boxes)
    looking.start()
    api = Api(make_app(site), database, folder, "", "")
    api.identified = api.token("known", identified=True)
    api.pseudonymous = api.token("stranger")
    try:
        yield api
    finally:
        looking.stop()
        indexer.close()
        site.close()
        database.close()


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """Serve an application on a free port of the loopback interface and yield its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()
