"""Keeps up with every Orthanc: looks at each from time to time, and at once where one tells of a deletion."""

import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import structlog

from db import pacs as pacs_
from db.engine import Database
from db.pacs import Pacs
from regionmir.core.errors import ConfigurationError, RegionMirError, StorageFull
from regionmir.core.settings import Settings
from regionmir.pacs.source import follower, orthanc_api

MAX_BODY = 200

log = structlog.get_logger(__name__)


class PacsSync:
    """Follows every PACS of kind `orthanc`."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._stopping = threading.Event()

    def look(self) -> None:
        """Look at each Orthanc once; one that is away holds up no other."""
        with self._database.session() as session:
            found = [pacs for pacs in pacs_.listing(session) if pacs.kind == "orthanc"]
        for pacs in found:
            if not self._stopping.is_set():
                self._look_at(pacs)

    def deleted(self, name: str, remote_id: str) -> int:
        """Hide a study that an Orthanc says it has deleted, if it really has; return how many were hidden.

        Anyone may say so: what counts is that Orthanc, asked at the URL that we know, has it no more.
        """
        with self._database.session() as session:
            pacs = pacs_.get(session, name)
        if pacs is None or pacs.kind != "orthanc":
            return 0
        with closing(orthanc_api(pacs)) as api:
            if api.has_study(remote_id):
                return 0
        with self._database.session() as session:
            return pacs_.deleted(session, name, remote_id, deletes=self._settings.pacs_deleted == "delete")

    def stop(self) -> None:
        """End after the study that is being imported."""
        self._stopping.set()

    def _look_at(self, pacs: Pacs) -> None:
        try:
            following = follower(self._settings, self._database, pacs, self._stopping.is_set)
            with closing(following.api):
                done = following.look()
        except (RegionMirError, StorageFull) as error:
            log.warning("PACS not followed", pacs=pacs.name, why=str(error))
            return
        if done.imported or done.failed:
            log.info("PACS followed", pacs=pacs.name, imported=done.imported, failed=done.failed)


class DeletionHook:
    """Takes `POST /pacs/NAME/deleted` with Orthanc's identifier of a study as body (deploy/orthanc)."""

    def __init__(self, host: str, port: int, sync: PacsSync) -> None:
        handler = type("Handler", (_Handler,), {"sync": sync})
        try:
            self._server = ThreadingHTTPServer((host, port), handler)
        except OSError as error:
            raise ConfigurationError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="deletion-hook", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    sync: PacsSync
    timeout = 10

    def do_POST(self) -> None:
        words = self.path.strip("/").split("/")
        length = self.headers.get("Content-Length", "")
        if len(words) != 3 or (words[0], words[2]) != ("pacs", "deleted"):
            self._answer(404)
        elif not length.isdigit() or int(length) > MAX_BODY:
            self._answer(413)
        else:
            body = self.rfile.read(int(length)).decode("ascii", "replace").strip()
            self._answer(202)  # at once: Orthanc answers nobody, us neither, before its script has returned
            self.wfile.flush()
            self._hide(words[1], body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: paths hold identifiers."""

    def _hide(self, name: str, remote_id: str) -> None:
        try:
            self.sync.deleted(name, remote_id)
        except RegionMirError as error:  # the next comparison will find it
            log.warning("deletion not checked", pacs=name, why=str(error))

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()
