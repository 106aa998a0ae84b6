"""What an export of the statistics reads: rows under pseudonyms, as schema `analytics` shows them (`db.views`)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

_INSTANCES: Final = "SELECT * FROM analytics.instance"
_REGIONS: Final = "SELECT * FROM analytics_inner.embedded_region WHERE model_pk = :generation"
_LABELS: Final = "SELECT * FROM analytics.labels"


@dataclass(frozen=True, slots=True)
class ExportedGeneration:
    """Which network spoke, and of which films."""

    generation: int
    model: str
    model_version: str
    weights_sha256: str
    data_sha256: str
    dim: int
    films: int


def generation(session: Session, number: int | None) -> ExportedGeneration | None:
    """Return the generation of this number (None: the one that searches use), None if there is none with embeddings."""
    query = text(
        "SELECT generation, model, model_version, weights_sha256, data_sha256, dim, films FROM analytics.generation "
        "WHERE status <> 'retired' AND CASE WHEN CAST(:number AS INT) IS NULL THEN status = 'active' "
        "ELSE generation = :number END"
    )
    found = session.execute(query, {"number": number}).first()
    return None if found is None else ExportedGeneration(*found)


def instances(session: Session, batch: int) -> Iterator[Sequence[Any]]:
    """Yield the rows of `analytics.instance`, so many at a time."""
    return _streamed(session, _INSTANCES, {}, batch)


def regions(session: Session, number: int, batch: int) -> Iterator[Sequence[Any]]:
    """Yield the regions of a generation with their embeddings `v`, so many at a time."""
    return _streamed(session, _REGIONS, {"generation": number}, batch)


def labels(session: Session, batch: int) -> Iterator[Sequence[Any]]:
    """Yield the rows of `analytics.labels`, so many at a time."""
    return _streamed(session, _LABELS, {}, batch)


def _streamed(session: Session, query: str, values: dict[str, Any], batch: int) -> Iterator[Sequence[Any]]:
    found = session.execute(text(query), values, execution_options={"yield_per": batch})
    yield from found.mappings().partitions()
