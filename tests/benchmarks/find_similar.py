"""A similarity C-FIND on an open association: 5,000 instances, 20 regions each, the node a process of its own."""

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

from db import peers
from db.engine import Database
from db.peers import Peer
from regionmir.core.anatomy import anatomies
from regionmir.core.identifiers import AETitle
from regionmir.core.records import Disclosure
from tests.benchmarks.report import Figure
from tests.support.find import ask, association, keys
from tests.support.peers import free_port
from tests.support.postgres import TestDatabases, throw_away_server
from tests.support.seed import many_films, seed

INSTANCES = 5000
QUERIES = 200
WARM_UP = 10
TARGET_P50_MS = 30


def figures() -> Iterator[Figure]:
    """Give p50 and p95, identified and pseudonymous."""
    with tempfile.TemporaryDirectory() as folder, throw_away_server(Path(folder)) as server:
        url = TestDatabases(server.url).migrated()
        database = Database(url, application_name="benchmark")
        films, info = many_films(INSTANCES, anatomies()[:20], 128)
        seed(database, films, info=info)
        with database.session() as session:
            known = Peer(AETitle("KNOWN"), source_address="127.0.0.1", can_find=True, disclosure=Disclosure.IDENTIFIED)
            peers.upsert(session, known)
        database.close()
        with _node(url, Path(folder) / "node") as port:
            for calling, name in (("KNOWN", "identified"), ("STRANGER", "pseudonymous")):
                times = sorted(_times(port, calling))
                p50, p95 = statistics.median(times), times[int(0.95 * len(times))]
                what = f"C-FIND, 10 hits of {INSTANCES} instances, ms"
                yield Figure(f"find_p50_5k_{name}", f"{what}, p50", p50, TARGET_P50_MS, False)
                yield Figure(f"find_p95_5k_{name}", f"{what}, p95", p95, None, False)


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


def _times(port: int, calling: str) -> Iterator[float]:
    """Give the milliseconds of each query; every query starts from another study."""
    with association(port, calling=calling, called="RGN_RL") as opened:
        for number in range(QUERIES + WARM_UP):
            wanted = keys("STUDY", StudyDescription=f"SIM ACC{number}", PatientID="", StudyInstanceUID="")
            began = time.perf_counter()
            found = ask(opened, wanted)
            took = (time.perf_counter() - began) * 1000
            assert (found.status, len(found.rows)) == (0x0000, 10), found
            if number >= WARM_UP:
                yield took
