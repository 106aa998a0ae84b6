"""A similarity C-FIND on an open association: 5,000 instances, 20 regions each, the node a process of its own.

A time runs from the call of pynetdicom's `send_c_find` until its last answer is decoded: the client's own work and the
commit of the node's records, with fsync, are in it. Both callers ask in turn, each first every second time, so that
neither meets a warmer node or a busier machine. What the database does once after so many inserts is done before.
"""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from pynetdicom.association import Association

from db import peers
from db.engine import Database
from db.peers import Peer
from regionmir.admin.postgres import LocalPostgres
from regionmir.core.anatomy import anatomies
from regionmir.core.identifiers import AETitle
from regionmir.core.records import Disclosure
from tests.benchmarks.report import Figure
from tests.support.find import ask, association, keys
from tests.support.peers import free_port
from tests.support.postgres import TestDatabases
from tests.support.seed import many_films, seed

INSTANCES = 5000
QUERIES = 200
WARM_UP = 50
TARGET_P50_MS = 30


def figures() -> Iterator[Figure]:
    """Give p50 and p95, identified and pseudonymous."""
    with tempfile.TemporaryDirectory() as folder, _server(Path(folder)) as server:
        url = _filled(TestDatabases(server.url))
        with (
            _node(url, Path(folder) / "node") as port,
            association(port, calling="KNOWN", called="RGN_RL") as known,
            association(port, calling="STRANGER", called="RGN_RL") as stranger,
        ):
            times = _times({"identified": known, "pseudonymous": stranger})
    for name, taken in times.items():
        p50, p95 = statistics.median(taken), sorted(taken)[int(0.95 * len(taken))]
        what = f"C-FIND, {name}, 10 hits of {INSTANCES} instances, ms"
        yield Figure(f"find_p50_5k_{name}", f"{what}, p50", p50, TARGET_P50_MS, False)
        yield Figure(f"find_p95_5k_{name}", f"{what}, p95", p95, None, False)


@contextmanager
def _server(folder: Path) -> Iterator[LocalPostgres]:
    """Run the server that `regionmir up` runs: the tests' own does not wait for the disk."""
    server = LocalPostgres(folder / "data", folder / "socket")
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _filled(databases: TestDatabases) -> str:
    """Return the URL of a database with the instances and the identified peer, vacuumed and with its statistics."""
    url = databases.migrated()
    database = Database(url, application_name="benchmark")
    films, info = many_films(INSTANCES, anatomies()[:20], 128)
    seed(database, films, info=info)
    with database.session() as session:
        known = Peer(AETitle("KNOWN"), source_address="127.0.0.1", can_find=True, disclosure=Disclosure.IDENTIFIED)
        peers.upsert(session, known)
    database.close()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE, SKIP_LOCKED)")
    return url


@contextmanager
def _node(database_url: str, folder: Path) -> Iterator[int]:
    """Run `python -m dicom_node` until the block ends, without a broker: nothing is stored here."""
    port = free_port()
    environment = {
        **os.environ,
        "REGIONMIR_DATA_DIR": str(folder),
        "REGIONMIR_DATABASE_URL": database_url,
        "REGIONMIR_REDIS_URL": f"redis+socket://{folder}/none",
        "REGIONMIR_DICOM_PORT": str(port),
        "REGIONMIR_LOG_LEVEL": "error",
    }
    process = subprocess.Popen([sys.executable, "-m", "dicom_node"], env=environment)
    try:
        _wait_until_open(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def _wait_until_open(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError("the node did not start")


def _times(callers: dict[str, Association]) -> dict[str, list[float]]:
    """Return the milliseconds of each query by caller; every query starts from another study."""
    times: dict[str, list[float]] = {name: [] for name in callers}
    for number in range(WARM_UP + QUERIES):
        for name in list(callers)[:: 1 if number % 2 else -1]:
            taken = _time(callers[name], f"SIM ACC{number}")
            if number >= WARM_UP:
                times[name].append(taken)
    return times


def _time(opened: Association, expression: str) -> float:
    wanted = keys("STUDY", StudyDescription=expression, PatientID="", StudyInstanceUID="")
    began = time.perf_counter()
    found = ask(opened, wanted)
    took = (time.perf_counter() - began) * 1000
    assert (found.status, len(found.rows)) == (0x0000, 10), found
    return took
