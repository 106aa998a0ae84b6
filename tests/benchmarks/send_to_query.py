"""Way A, whole: a film goes to `RGN_RL` by C-STORE, report and contact sheet are stored at the sender's destination.

`regionmir up` on this machine with the shipped model. A time runs from the opening of the association until the
destination has answered the C-STORE of the last result. Each film is a new one, of the shared radiographs (the model
takes no drawn film for a radiograph); without them there is no figure.
"""

import os
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
from regionmir.pixels.dicomize import Naming, dicomize_films, read_films
from regionmir.scu.peer import PeerAddress
from regionmir.scu.store import Result, store
from tests.benchmarks.report import Figure
from tests.support.peers import AE_TITLE, Receiver, receiver

NEIGHBOURS = 12
WARM_UP = 2
ROUNDS = 20
TARGET_S = 3.0
RADIOGRAPHS = Path(os.environ.get("REGIONMIR_SHARED_DIR", "../shared")) / "data" / "cxr"


def figures() -> Iterator[Figure]:
    """Give p50 and p95 of the round trip."""
    if not (RADIOGRAPHS / "images.csv").is_file():
        print(f"no figure of way A: {RADIOGRAPHS} is not there; set REGIONMIR_SHARED_DIR")
        return
    with tempfile.TemporaryDirectory() as folder, Instance(Path(folder) / "node") as instance, receiver() as pacs:
        _register(instance, pacs)
        node = PeerAddress(AETitle("RGN_RL"), "127.0.0.1", instance.dicom_port)
        films = _films(Path(folder) / "films")
        list(store(PeerAddress(AETitle("REGIONMIR"), node.host, node.port), "LOADER", films[:NEIGHBOURS]))
        times = [_round(node, pacs, film) for film in films[NEIGHBOURS:]]
    times = sorted(times[WARM_UP:])
    what = "send to query: C-STORE to report and sheet stored, s"
    yield Figure("lane_a_p50", f"{what}, p50", statistics.median(times), None, False)
    yield Figure("lane_a_p95", f"{what}, p95", times[int(0.95 * len(times))], TARGET_S, False)


def _films(folder: Path) -> list[Path]:
    chosen = [film for film in read_films(RADIOGRAPHS) if film.split == "val"][: NEIGHBOURS + WARM_UP + ROUNDS]
    dicomize_films(chosen, folder, naming=Naming("BENCH", ("L", "F"), "NO"))
    return sorted(folder.rglob("*.dcm"))


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
