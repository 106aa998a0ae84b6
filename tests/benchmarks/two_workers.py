"""Two index workers beside one, on one database: each is a process held to one core with one thread of torch.

A core stands for a machine. The sandbox of a worker shares its core; database and store are used by both, and the
database runs where the system lets it, so beside two workers it has no core of its own, which one of its own would
have. So it is told twice: by the films indexed in a second, and by what a film costs. Where the processor's time of a
film (worker, sandbox and database) stays as it is with one worker, two machines do twice as much. No broker takes
part: a task is only a wake-up, and a worker that is awake drains the table.

Both workers start once and have indexed every film before anything is measured; then, in turns, one is woken, or both.
The films are shared radiographs; without them there is no figure.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from db import instances
from db.engine import Database
from regionmir.core.errors import Transient
from regionmir.core.records import InstanceState
from regionmir.pixels.dicomize import Naming, film_object, read_films
from regionmir.storage import FileStore
from tests.benchmarks.index import RADIOGRAPHS
from tests.benchmarks.report import Figure
from tests.support.filing import file_film
from tests.support.postgres import TestDatabases, durable_server

if TYPE_CHECKING:
    from workers.indexer import Indexer

FILMS = int(os.environ.get("FILMS", "320"))
BATCH = 16
WORKERS = 2
TURNS = int(os.environ.get("TURNS", "3"))
TARGET = 1.8
DONE = "done"

Worker = subprocess.Popen[str]


@dataclass(frozen=True, slots=True)
class Run:
    """What indexing all films took, by the clock, and in processor's time of the workers and of the database."""

    seconds: float
    workers_s: float
    database_s: float

    @property
    def cost_s(self) -> float:
        return self.workers_s + self.database_s


def figures() -> Iterator[Figure]:
    """Give films/s of two workers beside one, and the same as the cost of a film lets expect."""
    if not (RADIOGRAPHS / "images.csv").is_file() or (os.cpu_count() or 1) < 2:
        print(f"no figure of two workers: it takes two cores and {RADIOGRAPHS}; set REGIONMIR_SHARED_DIR")
        return
    with tempfile.TemporaryDirectory() as folder, durable_server(Path(folder)) as server:
        url = TestDatabases(server.url).migrated()
        count = _file(url, Path(folder) / "objects")
        with ExitStack() as stack:
            workers = [stack.enter_context(_worker(url, folder, core)) for core in range(WORKERS)]
            _index(workers)
            runs = [(_run(url, workers, workers[:1]), _run(url, workers, workers)) for _ in range(TURNS)]
    one, two = sorted(runs, key=lambda pair: pair[0].seconds / pair[1].seconds)[TURNS // 2]
    what = f"{count} films, a core and a thread of torch for each worker"
    most = 2 * one.workers_s / two.cost_s
    why = (
        f"the database computes {two.database_s * 1000 / count:.1f} ms for a film on the cores of the workers, who "
        f"compute {two.workers_s * 1000 / count:.1f} ms ({one.workers_s * 1000 / count:.1f} where there is one): two "
        f"cores so allow {most:.2f}"
    )
    yield Figure(
        "two_workers_over_one", f"films/s of two index workers beside one, {what}",
        count / two.seconds, TARGET, True, peer=count / one.seconds, why=why,
    )  # fmt: skip
    yield Figure(
        "two_workers_by_cost", f"twice what a film costs one worker, beside its cost with two, ms, {what}",
        2 * one.cost_s * 1000 / count, TARGET, True, peer=two.cost_s * 1000 / count, why=why,
    )  # fmt: skip


def _file(url: str, folder: Path) -> int:
    database, store = Database(url, application_name="benchmark"), FileStore(folder)
    chosen = [film for film in read_films(RADIOGRAPHS) if film.split == "val"][:FILMS]
    for film in chosen:
        file_film(database, store, film_object(film, Naming("BENCH", ("L", "F"), "NO")))
    database.close()
    return len(chosen)


@contextmanager
def _worker(url: str, folder: str, core: int) -> Iterator[Worker]:
    """Give a worker on a core of its own."""
    started = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.two_workers", url, f"{folder}/objects", str(core)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def _run(url: str, workers: Sequence[Worker], woken: Sequence[Worker]) -> Run:
    """Let those of the workers that are woken index all films again."""
    database = Database(url, application_name="benchmark")
    with database.session() as session:
        instances.reindex(session, everything=True)
        waiting = instances.waiting(session)
    before, began = _computed(workers), time.perf_counter()
    _index(woken)
    seconds, after = time.perf_counter() - began, _computed(workers)
    with database.session() as session:
        states = instances.counts_by_state(session)
    database.close()
    assert states[InstanceState.INDEXED.value] >= 0.95 * waiting, states
    return Run(seconds, after[0] - before[0], after[1] - before[1])


def _index(woken: Sequence[Worker]) -> None:
    """Wake workers and wait until each finds nothing left."""
    for worker in woken:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in woken:
        _await_end(worker)


def _computed(workers: Sequence[Worker]) -> tuple[float, float]:
    """Return the seconds that the workers with their sandboxes, and the database, have computed."""
    found = [0.0, 0.0]
    own = {worker.pid for worker in workers}
    children = {child.pid for pid in own for child in psutil.Process(pid).children(recursive=True)}
    for process in psutil.Process().children(recursive=True):
        is_worker = process.pid in own | children
        found[0 if is_worker else 1] += sum(process.cpu_times()[:2])
    return found[0], found[1]


def _await_end(worker: Worker) -> None:
    assert worker.stdout is not None
    for line in worker.stdout:
        if line.strip() == DONE:
            return
    raise RuntimeError("a worker ended before it was done")


def _work(url: str, folder: Path, core: int) -> None:
    """Be a worker on one core: drain whenever told, and say when nothing is left."""
    os.sched_setaffinity(0, {core})
    from models.registry import load_model
    from workers.indexer import Indexer

    database, store = Database(url, application_name=f"worker {core}"), FileStore(folder)
    indexer = Indexer(database, store, load_model(None, threads=1), BATCH, lease_s=600)
    for _ in sys.stdin:
        _drain(indexer)
        print(DONE, flush=True)


def _drain(indexer: "Indexer") -> None:
    """Index until nothing waits; what is `Transient` is tried again, as a task is."""
    while True:
        try:
            indexer.drain()
            return
        except Transient:
            time.sleep(0.1)


if __name__ == "__main__":
    _work(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
