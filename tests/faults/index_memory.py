"""Memory of the index worker's loop: the real model, the same radiographs again and again in batches of many sizes.

    python -m tests.faults.index_memory --films 600

Prints resident memory, what is in use and what is free in malloc's main arena (glibc), and how many objects Python has;
then, without `--keep`, the same after free memory was given back. What is free and grows is fragmentation; what is in
use and grows, or the objects, is a leak.
"""

import argparse
import ctypes
import gc
import os
import random
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Final

import psutil
from pydicom import dcmread
from sqlalchemy import text

from db.engine import Database
from models.registry import load_model
from regionmir.storage import FileStore
from tests.faults.films import endless_films
from tests.faults.memory import MIB
from tests.support.filing import file_film
from tests.support.postgres import TestDatabases, throw_away_server
from workers.indexer import Indexer
from workers.memory import give_back

_PICTURES: Final = 64
_SIZES: Final = (1, 1, 2, 2, 2, 3, 4, 8)
_AGAIN: Final = text(
    "UPDATE instance SET state = 'received', attempts = 0 "
    "WHERE pk IN (SELECT pk FROM instance ORDER BY random() LIMIT :count)"
)


class _Account(ctypes.Structure):
    """What glibc's `mallinfo2` returns."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "used", "free", "keepcost")
    ]


def main(arguments: list[str]) -> int:
    """Index so many films and print a line for about every fiftieth."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.index_memory", description=__doc__)
    parser.add_argument("--films", type=int, default=600)
    parser.add_argument("--keep", action="store_true", help="never give free memory back")
    parser.add_argument("--seed", type=int, default=5, help="of the sizes of the batches")
    asked = parser.parse_args(arguments)
    shared = Path(os.environ.get("REGIONMIR_SHARED_DIR") or Path(__file__).resolve().parents[3] / "shared")
    with tempfile.TemporaryDirectory() as name, throw_away_server(Path(name) / "postgres") as server:
        database = Database(TestDatabases(server.url).migrated(), application_name="index memory")
        store = FileStore(Path(name) / "data")
        made = endless_films(Path(name) / "films", shared if shared.is_dir() else None, _PICTURES)
        for film in islice(made, _PICTURES):
            file_film(database, store, dcmread(film.path))
        indexer = Indexer(database, store, load_model(None, threads=1), max(_SIZES), lease_s=60.0)
        _repeat(database, indexer, asked.films, random.Random(asked.seed), keep=asked.keep)
        indexer.close()
        database.close()
    return 0


def _repeat(database: Database, indexer: Indexer, films: int, choice: random.Random, *, keep: bool) -> None:
    done = told = indexer.drain()
    while done < films:
        with database.session() as session:
            session.execute(_AGAIN, {"count": choice.choice(_SIZES)})
        done += indexer.drain()
        if done - told >= 50 or done >= films:
            told = done
            gc.collect()
            print(f"{done} films: {_figures()}", flush=True)
            if not keep:
                began = time.perf_counter()
                give_back()
                print(f"  given back in {time.perf_counter() - began:.3f} s: {_figures()}", flush=True)


def _figures() -> str:
    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = _Account
    account = libc.mallinfo2()
    resident = psutil.Process().memory_info().rss / MIB
    return (
        f"{resident:.1f} MiB, {account.used / MIB:.1f} in use, {account.free / MIB:.1f} free, "
        f"{len(gc.get_objects())} objects"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
