"""A similarity C-FIND on an open association at 5,000 instances with 20 regions each."""

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from db.engine import Database
from regionmir.core.anatomy import anatomies
from regionmir.core.records import Disclosure
from tests.benchmarks.report import Figure
from tests.support.find import ask, association, keys
from tests.support.postgres import TestDatabases, throw_away_server
from tests.support.running_node import RunningNode, running_node
from tests.support.seed import many_films, seed

INSTANCES = 5000
QUERIES = 200
WARM_UP = 10


def figures() -> Iterator[Figure]:
    """Give p50 and p95, identified and pseudonymous."""
    with tempfile.TemporaryDirectory() as folder, throw_away_server(Path(folder)) as server:
        database = Database(TestDatabases(server.url).migrated(), application_name="benchmark")
        films, info = many_films(INSTANCES, anatomies()[:20], 128)
        seed(database, films, info=info)
        with running_node(database, Path(folder) / "node") as node:
            node.register("KNOWN", disclosure=Disclosure.IDENTIFIED)
            for calling, name in (("KNOWN", "identified"), ("STRANGER", "pseudonymous")):
                times = sorted(_times(node, calling))
                p50, p95 = statistics.median(times), times[int(0.95 * len(times))]
                yield Figure(f"find_p50_5k_{name}", f"C-FIND, 10 hits, {INSTANCES} instances, p50 ms", p50, 30, False)
                yield Figure(f"find_p95_5k_{name}", f"C-FIND, 10 hits, {INSTANCES} instances, p95 ms", p95, None, False)
        database.close()


def _times(node: RunningNode, calling: str) -> Iterator[float]:
    """Give the milliseconds of each query; every query starts from another study."""
    with association(node.peer.port, calling=calling, called="RGN_RL") as opened:
        for number in range(QUERIES + WARM_UP):
            wanted = keys("STUDY", StudyDescription=f"SIM ACC{number}", PatientID="", StudyInstanceUID="")
            began = time.perf_counter()
            found = ask(opened, wanted)
            took = (time.perf_counter() - began) * 1000
            assert (found.status, len(found.rows)) == (0x0000, 10), found
            if number >= WARM_UP:
                yield took
