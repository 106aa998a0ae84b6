"""A similarity C-FIND on an open association: 100,000 regions, 20 of each of 5,000 instances; the node is a process.

A time runs from the call of pynetdicom's `send_c_find` until its last answer is decoded: the client's own work and the
commit of the node's records, with fsync, are in it. Both callers ask in turn, each first every second time, so that
neither meets a warmer node or a busier machine. What the database does once after so many inserts is done before.

The vectors are synthetic and spread as those of the shipped model (`spectra.py`). With 5,000 rows in a leaf every row
is compared; then the same is measured with the HNSW indexes that larger leaves get, and how many of the ten nearest
they find.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pynetdicom.association import Association
from sqlalchemy import func, select

from db import embeddings, peers
from db.engine import Database
from db.peers import Peer
from db.tables import InstanceRow
from regionmir.core.anatomy import Anatomy
from regionmir.core.identifiers import AETitle
from regionmir.core.records import Disclosure
from regionmir.query.search import OVERFETCH
from tests.benchmarks import processes
from tests.benchmarks.filling import build_indexes, fill
from tests.benchmarks.report import Figure
from tests.benchmarks.spectra import sampled
from tests.support.find import ask, association, keys
from tests.support.postgres import TestDatabases, durable_server

INSTANCES = 5000
QUERIES = 200
WARM_UP = 50
RECALL_QUERIES = 50
"""Of each anatomy."""
TARGET_P50_MS = 30
TARGET_P95_MS = 50
_WHY = "client, node and database share the cores"
_WHY_RECALL = "the graph of an index is searched, not every row"


def figures() -> Iterator[Figure]:
    """Give p50 and p95, identified and pseudonymous, without and with HNSW indexes, and the recall of these."""
    anatomies, vectors = sampled(INSTANCES)
    with tempfile.TemporaryDirectory() as folder, durable_server(Path(folder)) as server:
        url = TestDatabases(server.url).migrated()
        model_pk = fill(url, anatomies, vectors)
        with _callers(url, Path(folder) / "node") as callers:
            exact = _times(callers)
            build_indexes(url)
            by_index = _times(callers)
        yield from _figures("100k", INSTANCES, "", exact)
        yield from _figures("100k_hnsw", INSTANCES, ", HNSW", by_index)
        recall = _recall(url, model_pk, anatomies, vectors)
    yield Figure(
        "hnsw_recall_at_10", f"of the 10 nearest of {INSTANCES}, found by HNSW, 20 anatomies", recall, 0.95, True,
        why=_WHY_RECALL,
    )  # fmt: skip


def by_index(instances: int, name: str) -> Iterator[Figure]:
    """Give p50 and p95 among 20 regions of each of so many instances, by HNSW; `name` tells the size in the ids."""
    anatomies, vectors = sampled(instances)
    with tempfile.TemporaryDirectory() as folder, durable_server(Path(folder)) as server:
        url = TestDatabases(server.url).migrated()
        fill(url, anatomies, vectors)
        build_indexes(url)
        with _callers(url, Path(folder) / "node") as callers:
            times = _times(callers)
    yield from _figures(name, instances, ", HNSW", times)


@contextmanager
def _callers(url: str, folder: Path) -> Iterator[dict[str, Association]]:
    """Run a node and yield an open association of an identified and of a pseudonymous caller."""
    _register(url)
    with (
        processes.node(url, folder) as port,
        association(port, calling="KNOWN", called="RGN_RL") as known,
        association(port, calling="STRANGER", called="RGN_RL") as stranger,
    ):
        yield {"identified": known, "pseudonymous": stranger}


def _figures(name: str, instances: int, how: str, times: dict[str, list[float]]) -> Iterator[Figure]:
    """Give the figures of each caller; those without a caller in their ids are of the slower one."""
    for caller, taken in times.items():
        what = f"C-FIND, {caller}, 10 hits of {instances} x 20 regions{how}, ms"
        yield Figure(f"find_p50_{name}_{caller}", f"{what}, p50", _p50(taken), TARGET_P50_MS, False, why=_WHY)
        yield Figure(f"find_p95_{name}_{caller}", f"{what}, p95", _p95(taken), TARGET_P95_MS, False, why=_WHY)
    what = f"C-FIND, the slower caller, 10 hits of {instances} x 20 regions{how}, ms"
    slowest = max(times.values(), key=_p95)
    yield Figure(f"find_p50_{name}", f"{what}, p50", _p50(slowest), TARGET_P50_MS, False, why=_WHY)
    yield Figure(f"find_p95_{name}", f"{what}, p95", _p95(slowest), TARGET_P95_MS, False, why=_WHY)


def _p50(times: list[float]) -> float:
    return statistics.median(times)


def _p95(times: list[float]) -> float:
    return sorted(times)[int(0.95 * len(times))]


def _recall(url: str, model_pk: int, anatomies: tuple[Anatomy, ...], vectors: npt.NDArray[np.float32]) -> float:
    """Return the share of the ten nearest rows that searches by index give, over all anatomies; vectors (N, A, D)."""
    stored, database, found = vectors.astype(np.float16).astype(np.float32), Database(url, application_name="bench"), 0
    with database.session() as session:
        first = session.scalar(select(func.min(InstanceRow.pk)))
        assert first is not None
        for index, anatomy in enumerate(anatomies):
            for number in range(0, INSTANCES, INSTANCES // RECALL_QUERIES):
                similarities = stored[:, index] @ stored[number, index]
                nearest = set(np.argsort(-similarities)[:10] + first)
                hits = embeddings.nearest(
                    session, model_pk=model_pk, anatomy_pk=anatomy.key, dim=vectors.shape[2],
                    vector=stored[number, index], limit=2 * 10 + OVERFETCH,
                )  # fmt: skip
                found += len(nearest & {hit.instance_pk for hit in hits[:10]})
    database.close()
    return found / (10 * len(anatomies) * RECALL_QUERIES)


def _register(url: str) -> None:
    database = Database(url, application_name="benchmark")
    with database.session() as session:
        known = Peer(AETitle("KNOWN"), source_address="127.0.0.1", can_find=True, disclosure=Disclosure.IDENTIFIED)
        peers.upsert(session, known)
    database.close()


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
