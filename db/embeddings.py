"""Searching embeddings: the nearest regions of one anatomy under one model, with filters."""

import datetime as dt
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import BindParameter, ColumnElement, Connection, Select, bindparam, cast, select, text
from sqlalchemy.orm import Session

from db.engine import Database
from db.generations import leaf_name
from db.tables import EmbeddingRow, FindingRow, ModelRow, RegionRow
from db.visibility import of_visible_study
from regionmir.core.geometry import Box
from regionmir.core.records import Vector

ANN_THRESHOLD = 20_000
"""Rows in a leaf from which an HNSW index is worth its place; below, every row is compared."""

_MAX_EF_SEARCH = 1000
_LOCK = 0x5247_4E49  # "RGNI": one process at a time builds indexes


@dataclass(frozen=True, slots=True)
class NeighbourFilter:
    """Which embeddings may be found. None is no restriction; ranges are inclusive."""

    exclude_patient_pk: int | None = None
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
) -> list[Neighbour]:
    """Return up to `limit` regions by falling similarity to `vector` (D,), a unit vector.

    Never fewer than `limit` while as many pass the filters: where the index gives up early, every row is compared.
    """
    has_index = _prepare(session, leaf_name(model_pk, anatomy_pk), limit)
    asked = {name: value for name, value in asdict(filters).items() if value is not None}
    values = {"model_pk": model_pk, "anatomy_pk": anatomy_pk, "vector": np.asarray(vector), "most": limit, **asked}
    found = _nearest(session, _statement(dim, tuple(asked), by_index=has_index), values)
    if has_index and len(found) < limit:
        found = _nearest(session, _statement(dim, tuple(asked), by_index=False), values)
    return found


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

    Built concurrently: writers and searches go on meanwhile. One process at a time; others return at once.
    """
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK}):
            return []
        try:
            built = []
            connection.execute(text("SET lock_timeout = 0"))
            for leaf, dim in _leaves_to_index(connection, threshold):
                connection.execute(text(f"DROP INDEX CONCURRENTLY IF EXISTS {leaf}_hnsw"))  # a build that was cut off
                connection.execute(
                    text(
                        f"CREATE INDEX CONCURRENTLY {leaf}_hnsw ON {leaf} "
                        f"USING hnsw ((v::halfvec({dim})) halfvec_ip_ops) WITH (m = 16, ef_construction = 64)"
                    )
                )
                built.append(f"{leaf}_hnsw")
            return built
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})
            connection.execute(text("RESET lock_timeout"))


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
    "SELECT set_config('hnsw.iterative_scan', 'strict_order', true), "
    "set_config('hnsw.ef_search', :ef_search, true), "
    "set_config('plan_cache_mode', 'force_custom_plan', true), "
    "coalesce((SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:index)), false)"
)


def _prepare(session: Session, leaf: str, limit: int) -> bool:
    """Set how this transaction searches; return whether the leaf has a usable HNSW index."""
    ef_search = str(max(40, min(_MAX_EF_SEARCH, 2 * limit)))
    return bool(session.execute(_PREPARE, {"ef_search": ef_search, "index": f"{leaf}_hnsw"}).one()[3])


def _nearest(session: Session, statement: Select[Any], values: dict[str, Any]) -> list[Neighbour]:
    return [Neighbour(*found) for found in session.execute(statement, values)]


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
        .where(of_visible_study(row.study_pk), *(FILTER_CONDITIONS[name](bindparam(name)) for name in filters))
        .order_by(distance)
        .limit(bindparam("most"))
    )


FILTER_CONDITIONS: Final[dict[str, Callable[[Any], ColumnElement[bool]]]] = {
    "exclude_patient_pk": EmbeddingRow.patient_pk.__ne__,
    "exclude_study_pk": EmbeddingRow.study_pk.__ne__,
    "exclude_pixel_sha256": EmbeddingRow.pixel_sha256.__ne__,
    "study_date_first": EmbeddingRow.study_date.__ge__,
    "study_date_last": EmbeddingRow.study_date.__le__,
    "sex": EmbeddingRow.sex.__eq__,
    "age_min": EmbeddingRow.age_years.__ge__,
    "age_max": EmbeddingRow.age_years.__le__,
    "view": EmbeddingRow.view.__eq__,
    "finding": lambda label: EmbeddingRow.study_pk.in_(select(FindingRow.study_pk).where(FindingRow.label == label)),
}
"""The condition of each field of `NeighbourFilter`, from its value."""


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
