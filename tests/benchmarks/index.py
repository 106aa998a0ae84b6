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
from pathlib import Path

import numpy as np
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
ROUNDS = 12
FILMS = 160
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
        yield _whole_way(model, url, Path(folder) / "objects", FILMS)


def _analysis(model: RegionModel) -> Figure:
    films = [chest_values(seed, 512, 512).astype(np.float32) for seed in range(BATCH)]
    films = [(film - film.min()) / max(1e-6, float(np.ptp(film))) for film in films]
    model.analyse(films)
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        model.analyse(films)
        times.append((time.perf_counter() - began) * 1000 / BATCH)
    metric = f"detect and embed, batch {BATCH}, median ms per film"
    why = "the forward pass alone takes 22 ms in float32"
    return Figure("analyse_ms", metric, statistics.median(times), 25, False, why=why)


def _whole_way(model: RegionModel, url: str, folder: Path, count: int) -> Figure:
    """Return the time of a film on the whole way beside that of the forward pass: medians of `TURNS` turns."""
    database, store = Database(url, application_name="benchmark"), FileStore(folder)
    chosen = [film for film in read_films(RADIOGRAPHS) if film.split == "val"][:count]
    for film in chosen:
        file_film(database, store, film_object(film, Naming("BENCH", ("L", "F"), "NO")))
    batch = _input(model, chosen[:MAX_BATCH], store.incoming_dir / "one.dcm")
    indexer = Indexer(database, store, model, MAX_BATCH, lease_s=60)
    forward, whole = list[float](), list[float]()
    try:
        for turn in range(TURNS + 1):
            with database.session() as session:
                instances.reindex(session, everything=True)
            began = time.perf_counter()
            for _ in range(len(chosen) // MAX_BATCH):
                model.forward(batch)
            between = time.perf_counter()
            done = indexer.drain()
            ended = time.perf_counter()
            assert done == len(chosen), done
            if turn:  # the first one starts the sandbox and fills empty tables
                forward.append((between - began) * 1000 / (len(chosen) // MAX_BATCH * MAX_BATCH))
                whole.append((ended - between) * 1000 / len(chosen))
        with database.session() as session:
            states = instances.counts_by_state(session)
        assert states[InstanceState.INDEXED.value] >= 0.95 * len(chosen), states
    finally:
        indexer.close()
        database.close()
    return Figure(
        "index_over_forward",
        f"whole way of an index worker, ms per film, beside the forward pass, batch {MAX_BATCH}, "
        f"{torch.get_num_threads()} threads of torch",
        statistics.median(whole), TARGET_RATIO, False, peer=statistics.median(forward),
    )  # fmt: skip


def _input(model: RegionModel, films: list[Film], path: Path) -> torch.Tensor:
    """Return the network's input for these films (B, 1, S, S)."""
    prepared = []
    for film in films:
        film_object(film, Naming("BENCH", ("L", "F"), "NO")).save_as(path, enforce_file_format=True)
        prepared.append(prepare(display_image(read_dataset(path)).values, model.side))
    path.unlink()
    return stack(prepared)
