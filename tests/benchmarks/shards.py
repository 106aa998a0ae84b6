"""A database that is split by anatomy beside one that has all: two machines, simulated by two cores.

A core stands for a machine: a PostgreSQL server and the client that asks it are held to it. One server has every leaf;
a second one has half of them again. Alone, the first is asked for all; split, each is asked for its half, at the same
time. A search reads one leaf, so nothing passes between the two. Memory is not simulated: each of two machines would
need to keep half of the indexes in its own.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil
import psycopg

from db import embeddings
from db.engine import Database
from regionmir.core.anatomy import Anatomy, anatomy_by_key
from tests.benchmarks.leaves import columns, fill_leaf, register, vectors
from tests.benchmarks.report import Figure
from tests.benchmarks.search import FETCHED
from tests.benchmarks.spectra import spectra
from tests.support.postgres import TestDatabases, throw_away_server

ROWS = int(os.environ.get("ROWS", "50000"))
"""In each leaf."""
LEAVES = 4
TURNS = 3
SECONDS = float(os.environ.get("SECONDS", "8"))
"""How long searches are counted in each turn."""
TARGET = 1.8
MODEL_PK = 1

Client = subprocess.Popen[str]


def figures() -> Iterator[Figure]:
    """Give searches/s of two halves of a database beside the whole one."""
    if (os.cpu_count() or 1) < 2:
        print("no figure of a split database: it takes two cores")
        return
    anatomies = tuple(spectra())[:LEAVES]
    halves = anatomies[: LEAVES // 2], anatomies[LEAVES // 2 :]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        whole = stack.enter_context(_machine(Path(folder) / "whole", 0, anatomies))
        half = stack.enter_context(_machine(Path(folder) / "half", 1, halves[1]))
        asks_all = stack.enter_context(_client(whole, 0, anatomies))
        asks_half = [stack.enter_context(_client(url, core, halves[core])) for core, url in enumerate((whole, half))]
        turns = [(_searches([asks_all]), _searches(asks_half)) for _ in range(TURNS)]
    one, two = sorted(turns, key=lambda pair: pair[1] / pair[0])[TURNS // 2]
    yield Figure(
        "two_shards_over_one",
        f"searches/s of a database split in two by anatomy beside a whole one, {LEAVES} leaves of {ROWS:,}, "
        "a core for each server and its client",
        two / SECONDS, TARGET, True, peer=one / SECONDS,
        why="both cores share the memory's bandwidth and a cache of one processor, which two machines do not",
    )  # fmt: skip


@contextmanager
def _machine(folder: Path, core: int, anatomies: tuple[Anatomy, ...]) -> Iterator[str]:
    """Give the database of a server with a leaf for each anatomy; once these are built, it is held to `core`."""
    folder.mkdir()
    with throw_away_server(folder) as server:
        url = TestDatabases(server.url).migrated()
        assert register(url, anatomies, len(spectra()[anatomies[0]].mean)) == MODEL_PK
        with psycopg.connect(url, autocommit=True) as connection:
            for anatomy in anatomies:
                found = vectors(anatomy, ROWS)
                fill_leaf(connection, MODEL_PK, anatomy, found, columns(found))
            database = Database(url, application_name="benchmark")
            assert len(embeddings.ensure_ann_indexes(database, threshold=1)) == len(anatomies)
            database.close()
            connection.execute("VACUUM (ANALYZE, SKIP_LOCKED) embedding")
        postmaster = psutil.Process(int((folder / "data" / "postmaster.pid").read_text().splitlines()[0]))
        for process in (postmaster, *postmaster.children()):
            process.cpu_affinity([core])
        yield url


@contextmanager
def _client(url: str, core: int, anatomies: Sequence[Anatomy]) -> Iterator[Client]:
    """Give a process on `core` that asks for these anatomies in turn when it is told to, and says how often."""
    command = [sys.executable, "-m", "tests.benchmarks.shards", url, str(core), *(str(one.key) for one in anatomies)]
    started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert started.stdout is not None
        assert started.stdout.readline() == "ready\n"
        yield started
    finally:
        started.kill()
        started.wait()


def _searches(clients: Sequence[Client]) -> int:
    """Return how many searches the clients made in `SECONDS`, all at the same time."""
    for client in clients:
        assert client.stdin is not None
        client.stdin.write("go\n")
        client.stdin.flush()
    told = [client.stdout.readline() for client in clients if client.stdout is not None]
    return sum(map(int, told))


def _ask(url: str, core: int, anatomies: Sequence[Anatomy]) -> None:
    """Be a client: after each line read, ask for `SECONDS` and print the number of searches."""
    os.sched_setaffinity(0, {core})
    asked = [(anatomy, vector) for anatomy in anatomies for vector in vectors(anatomy, ROWS)[:: max(1, ROWS // 100)]]
    order = cycle([asked[n] for n in np.random.default_rng(0).permutation(len(asked))])
    database = Database(url, application_name=f"client {core}")
    for _ in range(len(asked)):  # brings the leaves into memory
        _search(database, *next(order))
    print("ready", flush=True)
    for _ in sys.stdin:
        count, until = 0, time.monotonic() + SECONDS
        while time.monotonic() < until:
            _search(database, *next(order))
            count += 1
        print(count, flush=True)


def _search(database: Database, anatomy: Anatomy, vector: npt.NDArray[np.float32]) -> None:
    with database.session() as session:
        found = embeddings.nearest(
            session, model_pk=MODEL_PK, anatomy_pk=anatomy.key, dim=len(vector), vector=vector, limit=FETCHED
        )
    assert len(found) == FETCHED


if __name__ == "__main__":
    _ask(sys.argv[1], int(sys.argv[2]), [anatomy_by_key(int(key)) for key in sys.argv[3:]])
