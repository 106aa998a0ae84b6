"""Searching embeddings: the nearest regions of one anatomy under one model, with filters."""

import datetime as dt
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Integer,
    Select,
    bindparam,
    cast,
    column,
    func,
    literal,
    select,
    table,
    text,
)
from sqlalchemy.orm import Session

from db.engine import Database
from db.generations import leaf_name
from db.tables import EmbeddingRow, FindingRow, ModelRow, RegionRow
from db.visibility import of_visible_study
from regionmir.core.geometry import Box
from regionmir.core.records import Vector

ANN_THRESHOLD = 20_000
"""Rows in a leaf from which an HNSW index is worth its place; below, every row is compared."""

EXACT_UP_TO, EXACT_SHARE, EXACT_MOST = 10_000, 0.06, 100_000
"""Rows that pass a filter up to which all of them are compared: so many or this share of a leaf, at most so many, which
take a tenth of a second. The index does not know the filter: it walks through far more rows than it gives and, where
the filter correlates with the distance, gives rows that are not the nearest."""

HNSW_M, HNSW_EF_CONSTRUCTION = 16, 64
"""How the indexes are built: neighbours of a row in the graph (twice as many at its bottom), candidates for them."""

BUILT_AT_ONCE = 2
"""Leaves whose indexes are built at the same time; each build takes `maintenance_work_mem`."""

_LEAST_EF_SEARCH, _MAX_EF_SEARCH = 40, 1000
_CANDIDATES, _CANDIDATES_ROWS = 3.5, 50_000
"""A search by index keeps so many candidates for each hit that is asked for, in a leaf of so many rows; more in a
larger one, by the square root. With two, ten hits of 50,000 (forty asked for) were .983 to .99 of the right ones; with
four, ten of 500,000 were .97."""

_ASKED_BEHIND_FILTERS = 2
"""A filtered search asks for so many times its hits, so that it keeps on until it has seen as far among the rows that
pass as a search without filters sees among all. Without, ten hits of a tenth of 500,000 were .97 of the right ones."""

_LOCK = 0x5247_4E49  # "RGNI": one process at a time builds indexes


@dataclass(frozen=True, slots=True)
class NeighbourFilter:
    """Which embeddings may be found. None is no restriction; ranges are inclusive."""

    exclude_patient_pks: tuple[int, ...] | None = None
    exclude_study_pk: int | None = None
    exclude_pixel_sha256: str | None = None
    study_date_first: dt.date | None = None
    study_date_last: dt.date | None = None
    sex: str | None = None
    age_min: float | None = None
    age_max: float | None = None
    view: str | None = None
    finding: str | None = None
    """A finding of its study (`db.findings`)."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One region near the vector asked for. `similarity` is the cosine, -1..1."""

    instance_pk: int
    study_pk: int
    patient_pk: int
    region_pk: int
    pixel_sha256: str
    view: str
    age_years: float | None
    similarity: float


@dataclass(frozen=True, slots=True)
class RegionVector:
    """What a query starts from: one region of one instance with its embedding."""

    region_pk: int
    box: Box
    score: float
    vector: Vector


def nearest(
    session: Session,
    *,
    model_pk: int,
    anatomy_pk: int,
    dim: int,
    vector: npt.NDArray[np.floating[Any]],
    limit: int,
    filters: NeighbourFilter = NeighbourFilter(),
    exact: bool = False,
) -> list[Neighbour]:
    """Return up to `limit` regions by falling similarity to `vector` (D,), a unit vector.

    Never fewer than `limit` while as many pass the filters: where few pass, the index gives up early, or `exact` is
    asked for, every row that passes is compared.
    """
    leaf = _prepare(session, leaf_name(model_pk, anatomy_pk))
    asked = {name: value for name, value in asdict(filters).items() if value is not None}
    values = {"model_pk": model_pk, "anatomy_pk": anatomy_pk, "vector": np.asarray(vector), "most": limit, **asked}
    narrowing = tuple(name for name in asked if not name.startswith("exclude_"))
    if leaf.has_index and not exact and (not narrowing or _many_pass(session, leaf, narrowing, values)):
        _set_scan(session, ef_search(limit, leaf.rows))
        most = limit * _ASKED_BEHIND_FILTERS if narrowing else limit
        found = _nearest(session, _statement(dim, tuple(asked), by_index=True), values | {"most": most})
        if len(found) >= limit:
            return found[:limit]
    return _nearest(session, _statement(dim, tuple(asked), by_index=False), values)


def indexed_leaves(session: Session, model_pk: int, anatomy_pks: Iterable[int]) -> list[int]:
    """Return which of these anatomies are searched by an HNSW index."""
    return [pk for pk in anatomy_pks if session.scalar(_HAS_INDEX, {"index": f"{leaf_name(model_pk, pk)}_hnsw"})]


def sample(session: Session, model_pk: int, anatomy_pk: int, count: int) -> list[Vector]:
    """Return up to `count` vectors (D,) of a leaf, from pages drawn at random."""
    leaf = leaf_name(model_pk, anatomy_pk)
    drawn = text(f"SELECT v::real[] FROM {leaf} TABLESAMPLE SYSTEM (1) ORDER BY random() LIMIT :count")  # noqa: S608
    return [np.asarray(v, dtype=np.float32) for v in session.scalars(drawn, {"count": count})]


def region_vector(session: Session, instance_pk: int, model_pk: int, anatomy_pk: int) -> RegionVector | None:
    """Return the region of this anatomy in this instance with its embedding, None where the model found none."""
    wanted = {"instance_pk": instance_pk, "model_pk": model_pk, "anatomy_pk": anatomy_pk}
    found = session.execute(_REGION_VECTOR, wanted).first()
    if found is None:
        return None
    pk, x0, y0, x1, y1, score, v = found
    return RegionVector(pk, Box(x0, y0, x1, y1), score, np.asarray(v, dtype=np.float32))


def ensure_ann_indexes(database: Database, threshold: int = ANN_THRESHOLD) -> list[str]:
    """Build the HNSW index of every leaf that has `threshold` rows and none yet; return the names of those built.

    Built concurrently, `BUILT_AT_ONCE` leaves at a time: writers and searches go on meanwhile. One process at a time;
    others return at once.
    """
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK}):
            return []
        try:
            due = _leaves_to_index(connection, threshold)
            with ThreadPoolExecutor(BUILT_AT_ONCE, thread_name_prefix="build-index") as builders:
                return list(builders.map(lambda leaf: _build_index(database, *leaf), due))
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})


def _build_index(database: Database, leaf: str, dim: int) -> str:
    """Build the HNSW index of one leaf and return its name."""
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        try:
            connection.execute(text("SET lock_timeout = 0"))
            connection.execute(text(f"DROP INDEX CONCURRENTLY IF EXISTS {leaf}_hnsw"))  # a build that was cut off
            connection.execute(
                text(
                    f"CREATE INDEX CONCURRENTLY {leaf}_hnsw ON {leaf} "
                    f"USING hnsw ((v::halfvec({dim})) halfvec_ip_ops) "
                    f"WITH (m = {HNSW_M}, ef_construction = {HNSW_EF_CONSTRUCTION})"
                )
            )
        finally:
            connection.execute(text("RESET lock_timeout"))
    return f"{leaf}_hnsw"


def _leaves_to_index(connection: Connection, threshold: int) -> list[tuple[str, int]]:
    """Return (leaf, width of its vectors) where an index is due."""
    due = []
    models = select(ModelRow.pk, ModelRow.dim, ModelRow.anatomy_pks).where(ModelRow.status != "retired")
    for model in connection.execute(models).all():
        for anatomy_pk in model.anatomy_pks:
            leaf = leaf_name(model.pk, anatomy_pk)
            enough = f"SELECT count(*) >= :threshold FROM (SELECT FROM {leaf} LIMIT :threshold) AS first"  # noqa: S608
            if not connection.scalar(_HAS_INDEX, {"index": f"{leaf}_hnsw"}) and connection.scalar(
                text(enough), {"threshold": threshold}
            ):
                due.append((leaf, model.dim))
    return due


_HAS_INDEX = text("SELECT coalesce((SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:index)), false)")
_PREPARE = text(
    "SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true), "
    "set_config('plan_cache_mode', 'force_custom_plan', true), "
    "coalesce((SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:index)), false), "
    "coalesce((SELECT reltuples FROM pg_class WHERE oid = to_regclass(:leaf)), 0)"
)
_SET_SCAN = text(
    "SELECT set_config('hnsw.ef_search', :ef_search, true), set_config('hnsw.max_scan_tuples', :most, true)"
)


@dataclass(frozen=True, slots=True)
class _Leaf:
    """The table of one anatomy: whether it has a usable HNSW index, and about how many rows."""

    name: str
    has_index: bool
    rows: float

    @property
    def compared_up_to(self) -> int:
        """How many rows that pass a filter are all compared, at most."""
        return max(EXACT_UP_TO, min(EXACT_MOST, int(EXACT_SHARE * self.rows)))


def ef_search(limit: int, rows: float) -> int:
    """Return how many candidates a search by index keeps that asks for `limit` of so many rows (`hnsw.ef_search`)."""
    kept = _CANDIDATES * max(1.0, (rows / _CANDIDATES_ROWS) ** 0.5) * limit
    return max(_LEAST_EF_SEARCH, min(_MAX_EF_SEARCH, int(kept)))


def _prepare(session: Session, name: str) -> _Leaf:
    """Set how this transaction searches, and return what is known of the leaf."""
    found = session.execute(_PREPARE, {"index": f"{name}_hnsw", "leaf": name}).one()
    return _Leaf(name, bool(found[2]), max(float(found[3]), 0.0))


def _many_pass(session: Session, leaf: _Leaf, narrowing: tuple[str, ...], values: dict[str, Any]) -> bool:
    """Return whether more rows pass these filters than are all compared; no more are counted."""
    asked = {name: values[name] for name in narrowing}
    found = session.scalar(_count_statement(leaf.name, narrowing), {**asked, "most": leaf.compared_up_to + 1})
    return (found or 0) > leaf.compared_up_to


def _set_scan(session: Session, kept: int) -> None:
    """Set how many candidates the index keeps, and let it give up soon where a filter correlates with the distance.

    It looks at no more rows than `kept` candidates have neighbours; about half of them have been seen before, so that
    this is a second batch of candidates where the first has too few rows that pass.
    """
    session.execute(_SET_SCAN, {"ef_search": str(kept), "most": str(2 * HNSW_M * kept)})


@lru_cache(maxsize=1024)
def _count_statement(leaf: str, filters: tuple[str, ...]) -> Select[Any]:
    """Return the statement that counts the rows of a leaf which pass the named filters, `:most` at most.

    It names the leaf itself: without conditions on model and anatomy, an index on what is filtered by suffices.
    """
    rows = table(leaf, *(column(one.name, one.type) for one in EmbeddingRow.__table__.columns))
    conditions = (FILTER_CONDITIONS[name](rows.c, bindparam(name)) for name in filters)
    passing = select(literal(1)).select_from(rows).where(*conditions).limit(bindparam("most", type_=Integer))
    return select(func.count()).select_from(passing.subquery())


def _nearest(session: Session, statement: Select[Any], values: dict[str, Any]) -> list[Neighbour]:
    """Return what the statement finds by falling similarity: an index gives it in nearly that order."""
    found = (Neighbour(*one) for one in session.execute(statement, values))
    return sorted(found, key=lambda one: -one.similarity)


@lru_cache(maxsize=256)
def _statement(dim: int, filters: tuple[str, ...], *, by_index: bool) -> Select[Any]:
    """Return the statement that finds `:most` regions near `:vector` (`dim`,), with a condition per named filter."""
    row = EmbeddingRow
    stored = cast(row.v, HALFVEC(dim)) if by_index else row.v
    wanted = cast(bindparam("vector", type_=HALFVEC(dim)), HALFVEC(dim))
    distance = stored.max_inner_product(wanted)  # the negative inner product
    return (
        select(
            row.instance_pk,
            row.study_pk,
            row.patient_pk,
            row.region_pk,
            row.pixel_sha256,
            row.view,
            row.age_years,
            (-distance).label("similarity"),
        )
        .where(row.model_pk == bindparam("model_pk"), row.anatomy_pk == bindparam("anatomy_pk"))
        .where(of_visible_study(row.study_pk), *(FILTER_CONDITIONS[name](row, bindparam(name)) for name in filters))
        .order_by(distance)
        .limit(bindparam("most"))
    )


FILTER_CONDITIONS: Final[dict[str, Callable[[Any, Any], ColumnElement[bool]]]] = {
    "exclude_patient_pks": lambda row, values: row.patient_pk.not_in(values),
    "exclude_study_pk": lambda row, value: row.study_pk != value,
    "exclude_pixel_sha256": lambda row, value: row.pixel_sha256 != value,
    "study_date_first": lambda row, value: row.study_date >= value,
    "study_date_last": lambda row, value: row.study_date <= value,
    "sex": lambda row, value: row.sex == value,
    "age_min": lambda row, value: row.age_years >= value,
    "age_max": lambda row, value: row.age_years <= value,
    "view": lambda row, value: row.view == value,
    "finding": lambda row, label: row.study_pk.in_(select(FindingRow.study_pk).where(FindingRow.label == label)),
}
"""The condition of each field of `NeighbourFilter`, of the columns of embeddings and its value."""


def _region_vector() -> Select[Any]:
    """Return the statement of `region_vector`: both keys are given to both tables, so that one leaf is read."""
    region, row = RegionRow, EmbeddingRow
    model_pk: BindParameter[int] = bindparam("model_pk")
    anatomy_pk: BindParameter[int] = bindparam("anatomy_pk")
    return (
        select(region.pk, region.x0, region.y0, region.x1, region.y1, region.score, row.v)
        .join(row, row.region_pk == region.pk)
        .where(region.instance_pk == bindparam("instance_pk"))
        .where(region.model_pk == model_pk, region.anatomy_pk == anatomy_pk)
        .where(row.model_pk == model_pk, row.anatomy_pk == anatomy_pk)
    )


_REGION_VECTOR = _region_vector()
