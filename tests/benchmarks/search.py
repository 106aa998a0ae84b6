"""The search in SQL among a million regions: 20 anatomies x 50,000, as `db.embeddings.nearest` asks for ten hits.

A time runs from that call to its rows in Python, in a transaction of its own, over a unix socket; the studies of the
query's patient are no hits. The filters pass from half of the rows to one in a thousand; one of them correlates with
the distance, and the queries are from where it passes nothing. Every search must give as many rows as it is asked for.

Recall is measured against comparing every row: a hit counts that is as similar as the exact tenth within 0.001; beside
it by id. With ten million (`make bench-large`): 20 x 500,000, and how build time, disk and times grow.
"""

import datetime as dt
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import psycopg

from db import embeddings
from db.embeddings import Neighbour, NeighbourFilter
from db.engine import Database
from regionmir.core.anatomy import Anatomy
from regionmir.query.search import OVERFETCH
from tests.benchmarks.leaves import Columns, Floats, columns, fill_leaf, register, vectors
from tests.benchmarks.libraries import Compared, compare
from tests.benchmarks.report import Figure
from tests.benchmarks.spectra import spectra
from tests.support.postgres import TestDatabases, throw_away_server

ROWS = int(os.environ.get("ROWS", "50000"))
"""In each leaf; fewer for a trial."""
LEAVES = int(os.environ.get("LEAVES", "0")) or len(spectra())
"""Fewer than there are anatomies tell what a leaf of another size does, without the time to build all of them."""
LIBRARY_LEAVES = 2
QUERIES = 10
"""Of each anatomy and filter."""
WARM_UP = 50
"""Searches in each leaf, before those that are measured, that bring its index from the disk into memory."""
K: Final = 10
FETCHED: Final = 2 * K + OVERFETCH
TARGET_MS, TARGET_RECALL, TARGET_BY_ID = 20.0, 0.99, 0.95

_FIRST: Final = dt.date(2020, 1, 1)
Passing = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Question:
    """A filter, which rows pass it, and which rows are asked from: all, or those where it passes nothing."""

    name: str
    filters: NeighbourFilter
    passes: Callable[[Columns], Passing]
    asked_from: Callable[[Columns], Passing] = lambda known: np.ones(len(known.age), bool)


def _days(first: int, last: int) -> NeighbourFilter:
    day = dt.timedelta(days=1)
    return NeighbourFilter(study_date_first=_FIRST + first * day, study_date_last=_FIRST + last * day)


QUESTIONS: Final = (
    Question("", NeighbourFilter(), lambda known: np.ones(len(known.age), bool)),
    Question("date_50", _days(0, 499), lambda known: known.day <= 499),
    Question("sex_50", NeighbourFilter(sex="F"), lambda known: known.sex == b"F"),
    Question("date_10", _days(100, 199), lambda known: (known.day >= 100) & (known.day <= 199)),
    Question("date_1", _days(500, 509), lambda known: (known.day >= 500) & (known.day <= 509)),
    Question("date_0.1", _days(777, 777), lambda known: known.day == 777),
    Question("view_0.1", NeighbourFilter(view="AP"), lambda known: known.view == b"AP"),
    Question(
        "sex_age_5", NeighbourFilter(sex="M", age_min=40, age_max=49.999),
        lambda known: (known.sex == b"M") & (known.age >= 40) & (known.age <= 49.999),
    ),
    Question(
        "far_25", NeighbourFilter(age_min=75), lambda known: known.age >= 75, lambda known: known.age < 10,
    ),
)  # fmt: skip


@dataclass
class Measured:
    """What one question took (ms) and gave, over all anatomies."""

    times: list[float] = field(default_factory=list)
    recall: list[float] = field(default_factory=list)
    by_id: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Milliseconds that this process computed for each search: what is left of its time the database took."""

    @property
    def cpu_ms(self) -> float:
        return statistics.median(self.cpu) if self.cpu else 0.0

    @property
    def p95(self) -> float:
        return sorted(self.times)[int(0.95 * len(self.times))]


@dataclass(frozen=True, slots=True)
class Size:
    """What the leaves take, with their indexes."""

    build_s: float
    index_bytes: int
    heap_bytes: int
    build_memory: str = ""
    """`maintenance_work_mem`."""
    huge_pages: str = "unknown"
    """`huge_pages_status`: whether the shared memory lies in huge pages; `on` makes searches quicker by a quarter."""


def figures() -> Iterator[Figure]:
    """Give p95 and recall, without and with filters, and what building the indexes takes."""
    with tempfile.TemporaryDirectory() as folder, throw_away_server(Path(folder)) as server:
        anatomies = tuple(spectra())[:LEAVES]
        size, measured = measure(
            TestDatabases(server.url).migrated(), anatomies, ROWS, QUERIES * len(spectra()) // LEAVES
        )
    total = len(anatomies) * ROWS
    name = size_name(total) + ("" if len(spectra()) == LEAVES else f"_{LEAVES}_leaves")
    yield from as_figures(name, total, size, measured)
    yield from library_figures(name, total, size, measured[""], ROWS)


def size_name(total: int) -> str:
    """Return how many regions there are as the ids of figures say it."""
    return f"{total // 1_000_000}m" if total >= 1_000_000 else f"{total // 1000}k"


def library_figures(name: str, total: int, size: Size, found: Measured, rows: int) -> Iterator[Figure]:
    """Give what FAISS and hnswlib take for the same vectors, in memory, for `LIBRARY_LEAVES` leaves of `rows`."""
    compared: dict[str, Compared] = {}
    for anatomy in list(spectra())[:LIBRARY_LEAVES]:
        drawn = vectors(anatomy, rows)
        asked = np.random.default_rng(anatomy.key).choice(rows, QUERIES, replace=False)
        compare(drawn, list(asked), columns(drawn).patient, K, embeddings.ef_search(FETCHED, rows), compared)
    leaves, by_id = total // rows, statistics.mean(found.by_id)
    for library, other in compared.items():
        what = f"{total:,} regions; peer: {library} in memory, {LIBRARY_LEAVES} leaves"
        ours_and_peers = (
            ("p50", "ms of a search, p50", statistics.median(found.times), statistics.median(other.times), False),
            ("recall_by_id", "recall@10 by id", by_id, statistics.mean(other.by_id), True),
            ("build_s", "s to build a leaf's index", size.build_s / leaves, statistics.mean(other.build_s), False),
            ("bytes", "bytes of index for each region", size.index_bytes / total, statistics.mean(other.bytes), False),
        )
        for figure, metric, ours, peer, higher in ours_and_peers:
            yield Figure(f"sql_{figure}_{name}_{library}", f"{metric}, {what}", ours, None, higher, peer=peer)


def as_figures(name: str, total: int, size: Size, measured: dict[str, Measured]) -> Iterator[Figure]:
    """Give the figures of a run; `name` tells the size in their ids."""
    for question, found in measured.items():
        end = f"_{question}" if question else ""
        what = f"ten hits of {total:,} regions in SQL{', filter ' * bool(question)}{question}"
        p50 = f"p50 is {statistics.median(found.times):.1f} ms, of it {found.cpu_ms:.1f} ms computed by the client"
        why = f"{p50}; huge pages: {size.huge_pages}"
        yield Figure(f"sql_p95_{name}{end}", f"{what}, ms, p95", found.p95, TARGET_MS, False, why=why)
        recall, by_id = statistics.mean(found.recall), statistics.mean(found.by_id)
        why = f"the worst of {len(found.recall)} searches found {min(found.recall):.0%}, {min(found.by_id):.0%} by id"
        yield Figure(f"recall_{name}{end}", f"{what}, recall@10 by similarity", recall, TARGET_RECALL, True, why=why)
        yield Figure(f"recall_by_id_{name}{end}", f"{what}, recall@10 by id", by_id, TARGET_BY_ID, True, why=why)
    yield Figure(f"index_build_s_{name}", f"HNSW indexes of {total:,} regions, s", size.build_s, None, False)
    yield Figure(f"index_bytes_{name}", "bytes of index for each region", size.index_bytes / total, None, False)
    yield Figure(
        f"heap_bytes_{name}", "bytes of table and B-trees for each region", size.heap_bytes / total, None, False
    )


def measure(url: str, anatomies: tuple[Anatomy, ...], rows: int, queries: int) -> tuple[Size, dict[str, Measured]]:
    """Fill a leaf of `rows` for each anatomy, build the indexes and ask each question `queries` times of each."""
    dim = len(spectra()[anatomies[0]].mean)
    model_pk = register(url, anatomies, dim)
    with psycopg.connect(url, autocommit=True) as connection:
        for anatomy in anatomies:
            found = vectors(anatomy, rows)
            fill_leaf(connection, model_pk, anatomy, found, columns(found))
        database = Database(url, application_name="benchmark")
        began = time.perf_counter()
        built = embeddings.ensure_ann_indexes(database, threshold=1)
        took = time.perf_counter() - began
        assert len(built) == len(anatomies), built
        connection.execute("VACUUM (ANALYZE, SKIP_LOCKED) embedding")
        size = _size(connection, took)
    measured = {question.name: Measured() for question in QUESTIONS}
    for anatomy in anatomies:
        found = vectors(anatomy, rows)
        for vector in found[:: max(1, rows // WARM_UP)]:
            _search(database, model_pk, anatomy, vector, -1, NeighbourFilter())
        for question in QUESTIONS:
            _ask(database, model_pk, anatomy, found, question, queries, measured[question.name])
    database.close()
    return size, measured


def _size(connection: "psycopg.Connection[Any]", build_s: float) -> Size:
    kinds = (
        "SELECT coalesce(sum(pg_relation_size(indexrelid)) FILTER (WHERE indexrelid::regclass::text LIKE '%_hnsw'), 0) "
        "FROM pg_index WHERE indrelid IN (SELECT relid FROM pg_partition_tree('embedding') WHERE isleaf)"
    )
    index = connection.execute(kinds).fetchone()
    every = connection.execute(
        "SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('embedding') WHERE isleaf"
    ).fetchone()
    assert index is not None
    assert every is not None
    settings = "SELECT current_setting('maintenance_work_mem'), current_setting('huge_pages_status')"
    memory = connection.execute(settings).fetchone()
    assert memory is not None
    return Size(build_s, int(index[0]), int(every[0]) - int(index[0]), *memory)


def _ask(
    database: Database, model_pk: int, anatomy: Anatomy, found: Floats, question: Question, queries: int, into: Measured
) -> None:
    known = columns(found)
    passes, starts = question.passes(known), np.flatnonzero(question.asked_from(known))
    rng = np.random.default_rng(anatomy.key)
    for nth, number in enumerate(rng.choice(starts, queries + 1, replace=False)):
        computed = time.thread_time()
        took, hits = _search(database, model_pk, anatomy, found[number], int(known.patient[number]), question.filters)
        computed_until = time.thread_time()
        allowed = passes & (known.patient != known.patient[number])
        assert len(hits) == min(FETCHED, int(allowed.sum())), (question.name, len(hits))
        assert all(allowed[hit.region_pk] for hit in hits), question.name
        if nth == 0:  # brings what the filter reads into memory
            continue
        into.cpu.append((computed_until - computed) * 1000)
        into.times.append(took)
        similarities, k = np.where(allowed, found @ found[number], -2), min(K, int(allowed.sum()))
        nearest = np.argsort(-similarities)[:k]
        into.by_id.append(len(set(nearest) & {hit.region_pk for hit in hits[:k]}) / k)
        into.recall.append(sum(hit.similarity >= similarities[nearest[-1]] - 1e-3 for hit in hits[:k]) / k)


def _search(
    database: Database, model_pk: int, anatomy: Anatomy, vector: Floats, patient: int, filters: NeighbourFilter
) -> tuple[float, list[Neighbour]]:
    """Return the milliseconds that a search took, and its rows."""
    began = time.perf_counter()
    with database.session() as session:
        hits = embeddings.nearest(
            session, model_pk=model_pk, anatomy_pk=anatomy.key, dim=len(vector), vector=vector, limit=FETCHED,
            filters=replace(filters, exclude_patient_pks=(patient,)),
        )  # fmt: skip
    return (time.perf_counter() - began) * 1000, hits
