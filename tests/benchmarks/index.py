"""How fast films become regions: the shipped model alone, and the whole way of an index worker beside it.

Alone: the forward pass over inputs that are ready. The whole way: an `Indexer` with its real model drains a table of
waiting films: claimed, read from the store and decoded in the sandbox, prepared, analysed and written to PostgreSQL,
which waits for the disk. Both in one process with the same threads of torch, in turns; database and sandbox share the
cores. The films are shared radiographs, filed as the node files them; without them there is no such figure.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch

from db import instances
from db.engine import Database
from models.preprocess import prepare, stack
from models.region_model import MAX_BATCH, RegionModel
from models.registry import load_model
from regionmir.core.records import InstanceState
from regionmir.pixels.decode import display_image, read_dataset
from regionmir.pixels.dicomize import Film, Naming, film_object, read_films
from regionmir.storage import FileStore
from tests.benchmarks.report import Figure
from tests.support.filing import file_film
from tests.support.films import chest_values
from tests.support.postgres import TestDatabases, durable_server
from workers.indexer import Indexer

BATCH = 8
CLAIMED = 16
ROUNDS = 12
FILMS = int(os.environ.get("FILMS", "160"))
TURNS = 3
TARGET_RATIO = 1.3
RADIOGRAPHS = Path(os.environ.get("REGIONMIR_SHARED_DIR", "../shared")) / "data" / "cxr"


def figures() -> Iterator[Figure]:
    """Give milliseconds for one film: of the model alone, and of the whole way beside the forward pass."""
    model = load_model(None)
    yield _analysis(model)
    if not (RADIOGRAPHS / "images.csv").is_file():
        print(f"no figure of the index worker: {RADIOGRAPHS} is not there; set REGIONMIR_SHARED_DIR")
        return
    with tempfile.TemporaryDirectory() as folder, durable_server(Path(folder)) as server:
        url = TestDatabases(server.url).migrated()
        yield from _whole_way(model, url, Path(folder) / "objects", FILMS)


def _analysis(model: RegionModel) -> Figure:
    films = [chest_values(seed, 512, 512).astype(np.float32) for seed in range(BATCH)]
    films = [(film - film.min()) / max(1e-6, float(np.ptp(film))) for film in films]
    model.analyse(films)
    batch = stack([prepare(film, model.side) for film in films])
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        model.analyse(films)
        times.append((time.perf_counter() - began) * 1000 / BATCH)
    metric = f"detect and embed, batch {BATCH}, median ms per film"
    began = time.perf_counter()
    for _ in range(ROUNDS):
        model.forward(batch)
    alone = (time.perf_counter() - began) * 1000 / (ROUNDS * BATCH)
    kind = "bfloat16" if model.bf16 else "float32"
    why = f"the forward pass alone takes {alone:.1f} ms in {kind}, {torch.get_num_threads()} threads of torch"
    return Figure("analyse_ms", metric, statistics.median(times), 25, False, why=why)


@dataclass(frozen=True, slots=True)
class Turn:
    """Milliseconds that a film took, by the clock and of processors: in the forward pass, and on the whole way."""

    forward: float
    whole: float
    forward_cost: float
    whole_cost: float
    database_cost: float


def _whole_way(model: RegionModel, url: str, folder: Path, count: int) -> Iterator[Figure]:
    """Give what a film takes on the whole way beside the forward pass: by the clock, and of processors."""
    database, store = Database(url, application_name="benchmark"), FileStore(folder)
    chosen = [film for film in read_films(RADIOGRAPHS) if film.split == "val"][:count]
    for film in chosen:
        file_film(database, store, film_object(film, Naming("BENCH", ("L", "F"), "NO")))
    batch = _input(model, chosen[:MAX_BATCH], store.incoming_dir / "one.dcm")
    indexer = Indexer(database, store, model, CLAIMED, lease_s=600)
    try:
        turns = [_turn(database, indexer, model, batch, len(chosen)) for _ in range(TURNS + 1)][1:]
        with database.session() as session:
            states = instances.counts_by_state(session)
        assert states[InstanceState.INDEXED.value] >= 0.95 * len(chosen), states
    finally:
        indexer.close()
        database.close()
    middle = sorted(turns, key=lambda turn: turn.whole / turn.forward)[TURNS // 2]
    what = (
        f"beside the forward pass, ms per film, {CLAIMED} claimed at once, {torch.get_num_threads()} threads of torch"
    )
    rest = middle.whole_cost - middle.forward_cost - middle.database_cost
    why = (
        f"a film takes {middle.whole_cost:.1f} ms of processors: {middle.forward_cost:.1f} the forward pass, "
        f"{middle.database_cost:.1f} the database, {rest:.1f} reading, preparing and writing"
    )
    yield Figure(
        "index_over_forward", f"the whole way of an index worker {what}", middle.whole, TARGET_RATIO, False,
        peer=middle.forward, why=why,
    )  # fmt: skip
    yield Figure(
        "index_over_forward_cost", f"the same in time of processors, {what}", middle.whole_cost, TARGET_RATIO, False,
        peer=middle.forward_cost, why=why,
    )  # fmt: skip


def _turn(database: Database, indexer: Indexer, model: RegionModel, batch: torch.Tensor, count: int) -> Turn:
    """Pass `batch` as often as there are films, then index them all again."""
    with database.session() as session:
        instances.reindex(session, everything=True)
    passes, costs = count // MAX_BATCH, [_computed()]
    clock = [time.perf_counter()]
    for _ in range(passes):
        model.forward(batch)
    clock.append(time.perf_counter())
    costs.append(_computed())
    assert indexer.drain() == count
    clock.append(time.perf_counter())
    costs.append(_computed())
    (own, _), (own_forward, base), (own_whole, base_whole) = costs
    return Turn(
        forward=(clock[1] - clock[0]) * 1000 / (passes * MAX_BATCH),
        whole=(clock[2] - clock[1]) * 1000 / count,
        forward_cost=(own_forward - own) * 1000 / (passes * MAX_BATCH),
        whole_cost=(own_whole + base_whole - own_forward - base) * 1000 / count,
        database_cost=(base_whole - base) * 1000 / count,
    )


def _computed() -> tuple[float, float]:
    """Return the seconds that this process with its sandbox, and the database, have computed."""
    me = psutil.Process()
    own, base = sum(me.cpu_times()[:2]), 0.0
    for child in me.children(recursive=True):
        try:
            seconds, is_database = sum(child.cpu_times()[:2]), "postgres" in child.name()
        except psutil.NoSuchProcess:
            continue
        own, base = own + seconds * (not is_database), base + seconds * is_database
    return own, base


def _input(model: RegionModel, films: list[Film], path: Path) -> torch.Tensor:
    """Return the network's input for these films (B, 1, S, S)."""
    prepared = []
    for film in films:
        film_object(film, Naming("BENCH", ("L", "F"), "NO")).save_as(path, enforce_file_format=True)
        prepared.append(prepare(display_image(read_dataset(path)).values, model.side))
    path.unlink()
    return stack(prepared)
