"""A RegionMIR with canary films in it, and every way out of it tapped."""

import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import structlog
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom.dsutils import decode

from db.engine import Database
from regionmir.admin.demo.instance import Instance
from regionmir.core.identifiers import AETitle
from regionmir.core.pseudonyms import Pseudonymizer
from regionmir.core.records import Disclosure
from regionmir.core.settings import Settings
from regionmir.scu.peer import PeerAddress
from regionmir.scu.store import Result, store
from regionmir.web.app import make_app, make_site
from tests.support.canaries import Canaries, CanaryIndex, decoded
from tests.support.canary_films import Pixels, canary_films, plain_film, report_of, write_all
from tests.support.end_to_end import command, wait_until_final
from tests.support.fake_model import FakeModel
from tests.support.films import save
from tests.support.peers import AE_TITLE, Receiver, receiver
from tests.support.recording_proxy import RecordingProxy, recording_proxy, without_fragments
from tests.support.running_node import running_node
from tests.support.web_client import WebClient
from workers.indexer import Indexer

ASKER = "RESEARCH"
"""The pseudonymous AE that asks; its results go to `AE_TITLE`, a destination that is pseudonymous too."""
SOURCE = "source AE"
"""The place of the canary that is the AE title of the sender."""
PLAIN = 10
"""Films without canaries beside those with."""

Tap = Callable[[], list[bytes]]
"""Returns what has come out in one way since it was last asked."""


@dataclass
class Site:
    """Where to ask, and what comes out. `own`: films that the asker sent itself, and whose anchors it knows."""

    node: RecordingProxy
    destination: Receiver
    arriving: RecordingProxy
    web: Callable[[str], bytes]
    logs: Tap
    pseudonymizer: Pseudonymizer
    canaries: Canaries
    films: Sequence[Dataset]
    own: Sequence[Dataset]
    folder: Path
    decoded: list[bytes] = field(default_factory=list)
    """Values as the asker's own software shows them."""

    def taps(self) -> Mapping[str, Tap]:
        """Return every way out by name: a further one is one more line."""
        return {
            "what the node sent": lambda: _with_messages(self.node.take_called()),
            "values as decoded": self._take_decoded,
            "what arrived at the destination": lambda: _with_messages(self.arriving.take_calling()),
            "objects at the destination": self._take_received,
            "logs": self.logs,
        }

    def peer(self, called: str = "REGIONMIR") -> PeerAddress:
        return PeerAddress(AETitle(called), "127.0.0.1", self.node.port)

    def see(self, dataset: Dataset) -> None:
        """Note a data set that the asker received: its values, and what its compressed parts hold."""
        self.decoded += opened(dataset)

    def send(self, *objects: Dataset, called: str = "REGIONMIR") -> None:
        """Send objects as the asker."""
        paths = [save(made, self.folder / "sent" / f"{made.SOPInstanceUID}.dcm") for made in objects]
        list(store(self.peer(called), ASKER, paths))

    def _take_decoded(self) -> list[bytes]:
        taken, self.decoded = self.decoded, []
        return taken

    def _take_received(self) -> list[bytes]:
        taken, self.destination.received = self.destination.received, []
        found = []
        for one in taken:
            syntax = one.transfer_syntax_uid
            dataset = decode(io.BytesIO(one.dataset), syntax == "1.2.840.10008.1.2", syntax != "1.2.840.10008.1.2.2")
            found += [one.dataset, *opened(dataset)]
        return found


def opened(dataset: Dataset) -> list[bytes]:
    """Return the values of a data set, and its pixels decompressed where it has some."""
    found = [decoded(dataset)]
    if "PixelData" in dataset and hasattr(dataset, "file_meta"):
        found.append(dataset.pixel_array.tobytes())
    return found


def part10(content: bytes) -> Dataset:
    return dcmread(io.BytesIO(content))


@contextmanager
def process_site(instance: Instance, pixels: Sequence[Pixels], folder: Path) -> Iterator[Site]:
    """Yield a site of the processes that `regionmir up` runs, with the films indexed by the shipped model."""
    address = f"http://127.0.0.1:{instance.http_port}"
    with (
        httpx.Client(base_url=address, timeout=30) as client,
        receiver() as destination,
        recording_proxy(instance.dicom_port) as node,
        recording_proxy(destination.port) as arriving,
    ):
        command(
            instance, "peers", "add", AE_TITLE, "--host", "127.0.0.1", "--port", str(arriving.port),
            "--accepts-pseudonyms",
        )  # fmt: skip
        command(instance, "peers", "add", ASKER, "--accepts-pseudonyms", "--results-to", AE_TITLE)
        pseudonymizer = instance.settings().pseudonymizer()
        canaries, films, own = _film_sets(pixels)
        log = _Logs([instance.log_path, *instance.data_dir.rglob("*.log")])
        site = Site(
            node, destination, arriving, lambda path: response_bytes(client.get(path)), log.new, pseudonymizer,
            canaries, films, own, folder,
        )  # fmt: skip
        wait_until_final(instance, fill(site), 120)
        yield site


@contextmanager
def thread_site(database: Database, pixels: Sequence[Pixels], folder: Path) -> Iterator[Site]:
    """Yield a site in this process, with a fake model, into which a test can put a fault."""
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with (
        running_node(database, folder, network_timeout_s=60) as running,
        receiver() as destination,
        recording_proxy(running.peer.port) as node,
        recording_proxy(destination.port) as arriving,
        _log() as log,
    ):
        running.register(AE_TITLE, port=arriving.port, disclosure=Disclosure.PSEUDONYMOUS, accepts_pseudonyms=True)
        running.register(ASKER, disclosure=Disclosure.PSEUDONYMOUS, accepts_pseudonyms=True)
        pages = make_site(Settings(data_dir=folder, database_url=url))
        client = WebClient(make_app(pages))
        canaries, films, own = _film_sets(pixels)
        pseudonymizer = running.node.pseudonymizer
        site = Site(
            node, destination, arriving, lambda path: response_bytes(client.get(path)), log.new, pseudonymizer,
            canaries, films, own, folder,
        )  # fmt: skip
        fill(site)
        indexer = Indexer(database, running.node.store, FakeModel(), 4, lease_s=60)
        indexer.drain()
        indexer.close()
        yield site
        pages.close()


def _film_sets(pixels: Sequence[Pixels]) -> tuple[Canaries, list[Dataset], list[Dataset]]:
    canaries = Canaries()
    films = canary_films(pixels, canaries)
    films.append(report_of(films[0], canaries))
    own = [plain_film(number, pixels[len(films) + number - 1]) for number in range(PLAIN)]
    return canaries, films, own


def fill(site: Site) -> int:
    """Send all films to the node, those with canaries by an AE that is one; return how many there are."""
    source = site.canaries.text(SOURCE)
    paths = write_all(site.films, site.canaries, site.folder / "films")
    outcomes = list(store(site.peer(), source, paths))
    assert [one.result for one in outcomes] == [Result.STORED] * len(site.films), outcomes
    site.send(*site.own)
    index = CanaryIndex(site.canaries)
    logged = [place for data in site.logs() for place in index.found_in(data) if place != SOURCE]
    assert logged == [], "operators may read who sent, not what"
    for take in site.taps().values():  # the sender may see again what it sent
        take()
    return len(site.films) + len(site.own)


def response_bytes(response: httpx.Response) -> bytes:
    """Return status, headers and body of a response, a picture decompressed too."""
    lines = [f"{response.status_code}", *(f"{name}: {value}" for name, value in response.headers.items())]
    found = ["\r\n".join(lines).encode(), response.content]
    kind = response.headers.get("content-type", "")
    if kind.startswith("image/") and kind != "image/svg+xml":  # that one is text
        with Image.open(io.BytesIO(response.content)) as picture:
            found += [repr(picture.info).encode(), np.asarray(picture).tobytes()]
    return b"\r\n\r\n".join(found)


def _with_messages(streams: list[bytes]) -> list[bytes]:
    return [part for stream in streams for part in (stream, without_fragments(stream))]


class _Logs:
    """Reads on in files that grow."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._read = dict.fromkeys(paths, 0)

    def new(self) -> list[bytes]:
        found = []
        for path, start in self._read.items():
            with path.open("rb") as file:
                file.seek(start)
                found.append(file.read())
            self._read[path] = start + len(found[-1])
        return found


class _Log(io.StringIO):
    def new(self) -> list[bytes]:
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        return [text.encode()]


@contextmanager
def _log() -> Iterator[_Log]:
    """Yield what this process logs."""
    log = _Log()
    before = structlog.get_config()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),  # a command run before may have set less
        logger_factory=structlog.PrintLoggerFactory(log),  # type: ignore[arg-type]
    )
    try:
        yield log
    finally:
        structlog.configure(**before)
