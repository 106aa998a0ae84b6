"""FAISS (flat, exact) and hnswlib beside the search in SQL: vectors in memory, no filters, no transactions, one thread.

What they take is the limit of what a database could reach. `make bench` installs them under build/libraries; where one
is absent there are no figures of it.
"""

import importlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from db.embeddings import HNSW_EF_CONSTRUCTION, HNSW_M

FOLDER: Final = Path("build/libraries")
Floats = npt.NDArray[np.float32]


class Index(Protocol):
    """The vectors (N, D) of one leaf in a library."""

    @property
    def bytes(self) -> float: ...
    def ask(self, vector: Floats, count: int) -> Sequence[int]: ...


@dataclass
class Compared:
    """What a library took over some leaves, and gave."""

    build_s: list[float] = field(default_factory=list)
    bytes: list[float] = field(default_factory=list)
    """Of each row."""
    times: list[float] = field(default_factory=list)
    """Milliseconds of each query."""
    by_id: list[float] = field(default_factory=list)


class _Flat:
    def __init__(self, faiss: ModuleType, vectors: Floats, _ef: int) -> None:
        faiss.omp_set_num_threads(1)
        self._index: Any = faiss.IndexFlatIP(vectors.shape[1])
        self._index.add(vectors)
        self.bytes = float(vectors.nbytes)

    def ask(self, vector: Floats, count: int) -> Sequence[int]:
        return [int(n) for n in self._index.search(vector[None], count)[1][0]]


class _Graph:
    def __init__(self, hnswlib: ModuleType, vectors: Floats, ef: int) -> None:
        self._index: Any = hnswlib.Index(space="ip", dim=vectors.shape[1])
        self._index.init_index(len(vectors), M=HNSW_M, ef_construction=HNSW_EF_CONSTRUCTION)
        self._index.add_items(vectors, num_threads=os.cpu_count() or 1)
        self._index.set_ef(ef)
        self._index.set_num_threads(1)
        self.bytes = float(self._index.index_file_size())

    def ask(self, vector: Floats, count: int) -> Sequence[int]:
        return [int(n) for n in self._index.knn_query(vector, count)[0][0]]


_MAKERS: Final = {"faiss": ("faiss_flat", _Flat), "hnswlib": ("hnswlib", _Graph)}


def compare(
    found: Floats, asked: Sequence[int], patients: npt.NDArray[np.int64], k: int, ef: int, into: dict[str, Compared]
) -> None:
    """Build an index of the vectors (N, D) in each library, ask from these rows, and add what it took to `into`.

    The rows of the patient asked from are no hits. `ef`: how many candidates a graph keeps.
    """
    for name, module, make in _libraries():
        measured = into.setdefault(name, Compared())
        began = time.perf_counter()
        index: Index = make(module, found, ef)
        measured.build_s.append(time.perf_counter() - began)
        measured.bytes.append(index.bytes / len(found))
        for number in asked:
            others = patients != patients[number]
            began = time.perf_counter()
            rows = index.ask(found[number], 3 * k)
            measured.times.append((time.perf_counter() - began) * 1000)
            nearest = np.argsort(-np.where(others, found @ found[number], -2))[:k]
            hits = [row for row in rows if others[row]][:k]
            measured.by_id.append(len(set(nearest) & set(hits)) / k)


def _libraries() -> Iterator[tuple[str, ModuleType, Any]]:
    if FOLDER.is_dir() and str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))
    for wanted, (name, make) in _MAKERS.items():
        try:
            yield name, importlib.import_module(wanted), make
        except ModuleNotFoundError:
            print(f"no figure of {wanted}: it is not installed (`make {FOLDER}/.installed`)")
