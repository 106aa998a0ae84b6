"""Way A, whole: a film goes to `RGN_RL` by C-STORE, report and contact sheet are stored at the sender's destination.

`regionmir up` on this machine with the shipped model. A time runs from the opening of the association until the
destination has answered the C-STORE of the last result. Each film is a new one; all were drawn.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from db import peers
from db.engine import Database
from db.peers import Peer
from regionmir.admin.demo.instance import Instance
from regionmir.core.identifiers import AETitle
from regionmir.core.records import Disclosure
from regionmir.scu.peer import PeerAddress
from regionmir.scu.store import Result, store
from tests.benchmarks.report import Figure
from tests.support.films import write_film, write_films
from tests.support.peers import AE_TITLE, Receiver, receiver

NEIGHBOURS = 12
WARM_UP = 2
ROUNDS = 20
TARGET_S = 3.0
SIZE = {"rows": 1024, "columns": 1024}


def figures() -> Iterator[Figure]:
    """Give p50 and p95 of the round trip."""
    with tempfile.TemporaryDirectory() as folder, Instance(Path(folder) / "node") as instance, receiver() as pacs:
        _register(instance, pacs)
        node = PeerAddress(AETitle("RGN_RL"), "127.0.0.1", instance.dicom_port)
        neighbours = write_films(Path(folder) / "neighbours", NEIGHBOURS, first_seed=1000, **SIZE)
        list(store(PeerAddress(AETitle("REGIONMIR"), node.host, node.port), "LOADER", neighbours))
        times = [_round(node, pacs, write_film(Path(folder) / f"{n}.dcm", n, **SIZE)) for n in range(WARM_UP + ROUNDS)]
    times = sorted(times[WARM_UP:])
    what = "send to query: C-STORE to report and sheet stored, s"
    yield Figure("lane_a_p50", f"{what}, p50", statistics.median(times), None, False)
    yield Figure("lane_a_p95", f"{what}, p95", times[int(0.95 * len(times))], TARGET_S, False)


def _register(instance: Instance, pacs: Receiver) -> None:
    known = {"source_address": "127.0.0.1", "disclosure": Disclosure.IDENTIFIED}
    database = Database(instance.settings().require_database_url(), application_name="benchmark")
    with database.session() as session:
        sender = Peer(AETitle("VIEWER"), can_store=True, can_find=True, results_to=AE_TITLE, **known)  # type: ignore[arg-type]
        peers.upsert(session, sender)
        there = {"host": "127.0.0.1", "port": pacs.port, "results": ("sr", "sheet"), **known}
        peers.upsert(session, Peer(AETitle(AE_TITLE), **there))  # type: ignore[arg-type]
    database.close()


def _round(node: PeerAddress, pacs: Receiver, film: Path) -> float:
    before, began = len(pacs.received), time.perf_counter()
    (outcome,) = store(node, "VIEWER", [film])
    assert outcome.result is Result.STORED, outcome
    while len(pacs.received) < before + 2:
        assert time.perf_counter() - began < 60, "no results"
        time.sleep(0.005)
    return time.perf_counter() - began
