"""How fast films come in: our node beside Orthanc and dcmtk's `storescp --fork`, sent by dcmtk's `storescu`.

Ours are the real processes: the node, PostgreSQL that waits for the disk, Redis; Success is sent when file, folder and
row are durable. Orthanc is as it comes: SQLite, and `SyncStorageArea` (fsync of each file, none of its folder).
`storescp` writes files as they came, without a database and without fsync: as fast as plain receiving can be.

A time runs from the start of the senders, one process per association, to the end of the last one. Every object is new;
two make a study of a patient. What one server has left to be written to the disk is written before the next one's turn.
"""

import os
import statistics
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.benchmarks import processes
from tests.benchmarks.report import Figure
from tests.support.dicom import as_file, radiograph
from tests.support.orthanc import PROGRAM, running_orthanc
from tests.support.peers import storescp
from tests.support.postgres import TestDatabases, durable_server
from tests.support.redis import RedisServer, redis_binary

DCMTK = Path("/usr/bin")
ROUNDS = 3
WARM_UP = 40
"""Objects that each server gets before the first round."""

_ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}
"""Of dcmtk's programs and of Orthanc: they leave Nagle's algorithm on unless told, and each object waits for 40 ms."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent: squares of 16-bit pixels of this width, so many over each association.

    Targets are ratios to Orthanc and to dcmtk; `why` they are missed, where they are: see docs/ingest.md.
    """

    id: str
    name: str
    pixels: int
    associations: int
    objects: int
    of_orthanc: float
    of_dcmtk: float
    why: str


_SMALL = (
    "an object takes 3 to 5 ms of processor time in the node and 1 ms in PostgreSQL, on two cores shared with its "
    "sender, and three flushes of the disk in a row, 1 to 3 ms each: see docs/ingest.md"
)
_LARGE = (
    "hashing and writing an object takes 12 ms of a core, receiving and sending it not counted, and its content is "
    "flushed; dcmtk does neither hash nor flush: see docs/ingest.md"
)
LOADS = (
    Load("ingest_512k_1", "512 KiB, 1 association", 512, 1, 400, 1.5, 0.35, _SMALL),
    Load("ingest_512k_8", "512 KiB, 8 associations", 512, 8, 200, 1.5, 0.35, _SMALL),
    Load("ingest_10m_8", "10 MiB, 8 associations", 2290, 8, 10, 2.0, 1.0, _LARGE),
)


@dataclass(frozen=True, slots=True)
class Target:
    """A server under load. `count` tells how many objects it has."""

    ae_title: str
    port: int
    count: Callable[[], int]


def figures() -> Iterator[Figure]:
    """Give instances a second of each load; nothing where a peer is not installed."""
    if not PROGRAM.exists() or not (DCMTK / "storescp").exists():
        print("no figures of ingest: install Orthanc and dcmtk")
        return
    for load in LOADS:
        rates = _rates(load)
        what = f"C-STORE, {load.name}: instances/s beside"
        ours = rates["ours"]
        yield Figure(load.id, f"{what} Orthanc", ours, load.of_orthanc, True, rates["orthanc"], load.why)
        yield Figure(
            f"{load.id}_dcmtk", f"{what} dcmtk storescp --fork", ours, load.of_dcmtk, True, rates["dcmtk"], load.why
        )


def _rates(load: Load) -> dict[str, float]:
    """Return the median rate of each server over the rounds; the first of a round is another one each time."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        servers = {
            "ours": running.enter_context(_ours(Path(folder) / "ours")),
            "orthanc": running.enter_context(_orthanc(Path(folder) / "orthanc")),
            "dcmtk": running.enter_context(_dcmtk(Path(folder) / "dcmtk")),
        }
        rates: dict[str, list[float]] = {name: [] for name in servers}
        for server in servers.values():
            _rate(server, load, Path(folder) / "films", 1, WARM_UP)
        for number in range(ROUNDS):
            names = list(servers)
            for name in names[number:] + names[:number]:
                rates[name].append(_rate(servers[name], load, Path(folder) / "films", load.associations, load.objects))
        expected = WARM_UP + ROUNDS * load.associations * load.objects
        assert {name: server.count() for name, server in servers.items()} == dict.fromkeys(servers, expected)
    return {name: statistics.median(found) for name, found in rates.items()}


def _rate(server: Target, load: Load, folder: Path, associations: int, objects: int) -> float:
    """Return the instances a second of one run with new objects."""
    with _films(folder, load.pixels, associations, objects) as folders:
        os.sync()
        began = time.perf_counter()
        senders = [_sender(server, one) for one in folders]
        codes = [sender.wait() for sender in senders]
        took = time.perf_counter() - began
    assert codes == [0] * associations, codes
    return associations * objects / took


def _sender(server: Target, folder: Path) -> "subprocess.Popen[bytes]":
    command = [str(DCMTK / "storescu"), "-R", "-aet", "SENDER", "-aec", server.ae_title, "+sd"]
    return subprocess.Popen([*command, "127.0.0.1", str(server.port), str(folder)], env=_ENVIRONMENT)


@contextmanager
def _films(folder: Path, pixels: int, associations: int, objects: int) -> Iterator[list[Path]]:
    """Write so many new objects into a folder for each association, and delete them at the end."""
    make = _maker(pixels)
    with tempfile.TemporaryDirectory(prefix=folder.name, dir=folder.parent) as root:
        folders = [Path(root) / str(number) for number in range(associations)]
        for each in folders:
            each.mkdir()
            for number in range(objects):
                (each / f"{number:04d}.dcm").write_bytes(make(number))
        yield folders


def _maker(pixels: int) -> Callable[[int], bytes]:
    """Return what makes object number n: a copy of one film with UIDs and patient of its own, two to a study."""
    names = ("SOP", "STUDY", "SERIES")
    uids = {name: f"1.2.826.0.1.3680043.9.{number}.{'1' * 32}" for number, name in enumerate(names)}
    dataset = radiograph(
        "P" + "0" * 15, size=pixels, SOPInstanceUID=uids["SOP"], StudyInstanceUID=uids["STUDY"],
        SeriesInstanceUID=uids["SERIES"], StudyDate="20260102", AccessionNumber="A1", ViewPosition="PA",
    )  # fmt: skip
    dataset.PixelData = os.urandom(2 * pixels * pixels)
    parts = as_file(dataset)
    study = ""

    def make(number: int) -> bytes:
        nonlocal study
        study = study if number % 2 else _digits()
        made = parts
        for name, uid in uids.items():
            own = _digits() if name == "SOP" else study
            made = made.replace(uid.encode(), uid[:-32].encode() + own.encode())
        return made.replace(b"P" + b"0" * 15, b"P" + study[:15].encode())

    return make


def _digits() -> str:
    return str(uuid.uuid4().int).rjust(39, "1")[-32:].replace("0", "1", 1)


@contextmanager
def _ours(folder: Path) -> Iterator[Target]:
    binary = redis_binary()
    assert binary is not None
    redis = RedisServer(binary)
    redis.start()
    try:
        with durable_server(folder / "postgres") as server:
            url = TestDatabases(server.url).migrated()
            with processes.node(url, folder / "data", redis_url=redis.url) as port:
                yield Target("REGIONMIR", port, lambda: _rows(url))
    finally:
        redis.remove()


def _rows(url: str) -> int:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT count(*) FROM instance").fetchone()
    assert found is not None
    return int(found[0])


@contextmanager
def _orthanc(folder: Path) -> Iterator[Target]:
    with running_orthanc(folder, environment=_ENVIRONMENT) as orthanc:
        yield Target(
            orthanc.title,
            orthanc.dicom_port,
            lambda: int(orthanc.http.get("/statistics").json()["CountInstances"]),
        )


@contextmanager
def _dcmtk(folder: Path) -> Iterator[Target]:
    folder.mkdir()
    with storescp(DCMTK, folder, "--fork", environment=_ENVIRONMENT) as peer:
        yield Target(peer.ae_title, peer.port, lambda: len(list(folder.iterdir())))
