"""The statistics as Parquet files: instances, regions with their embeddings, labels; under pseudonyms.

A file that is there is whole: it is written under another name and renamed. All are of one moment.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from db import analytics
from db.analytics import ExportedGeneration
from db.engine import Database, Session
from regionmir.core.errors import ConfigurationError

BATCH = 5000
"""Rows in memory at a time, and in a row group."""

_TEXT, _FLOAT = pa.string(), pa.float64()
_INSTANCES = pa.schema(
    [
        *((name, _TEXT) for name in ("instance", "study", "patient", "state", "reason", "modality", "view", "sex")),
        *((name, _TEXT) for name in ("age_band", "manufacturer", "device_model")),
        ("study_date", pa.date32()),
        ("rows", pa.int32()),
        ("columns", pa.int32()),
    ]
)
_LABELS = pa.schema(
    [
        *((name, _TEXT) for name in ("study", "label", "source")),
        ("confidence", _FLOAT),
        ("imported_at", pa.timestamp("us", tz="UTC")),
    ]
)


@dataclass(frozen=True, slots=True)
class ExportedRows:
    """How many rows each file has."""

    instances: int
    regions: int
    labels: int


def export_parquet(database: Database, folder: Path, number: int | None = None) -> ExportedRows:
    """Write `instances.parquet`, `regions.parquet`, `labels.parquet` and `manifest.json` to a new or empty folder.

    `number`: of the generation whose regions are written; None: the one that searches use. Raises
    `ConfigurationError` where the folder holds something, or there is no such generation.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigurationError(f"{folder} is not empty")
    folder.mkdir(parents=True, exist_ok=True)
    with database.session() as session:
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        found = analytics.generation(session, number)
        if found is None:
            raise ConfigurationError("there is no such generation with embeddings: see `regionmir model generations`")
        rows = _write_all(session, folder, found)
    manifest = {**asdict(found), "rows": asdict(rows)}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return rows


def _write_all(session: Session, folder: Path, found: ExportedGeneration) -> ExportedRows:
    regions = pa.schema(
        [
            *((name, _TEXT) for name in ("instance", "study", "patient", "anatomy")),
            *((name, _FLOAT) for name in ("x0", "y0", "x1", "y1", "score")),
            ("embedding", pa.list_(pa.float32(), found.dim)),
        ]
    )
    vectors = _with_vectors(analytics.regions(session, found.generation, BATCH))
    return ExportedRows(
        _write(folder / "instances.parquet", _INSTANCES, analytics.instances(session, BATCH), found),
        _write(folder / "regions.parquet", regions, vectors, found),
        _write(folder / "labels.parquet", _LABELS, analytics.labels(session, BATCH), found),
    )


def _with_vectors(batches: Iterable[Sequence[Any]]) -> Iterator[list[dict[str, Any]]]:
    for batch in batches:
        yield [{**line, "embedding": _vector(line["v"])} for line in batch]


def _vector(value: Any) -> Any:
    """Return a vector as numbers: as pgvector's type, or as the text that the driver gives."""
    return np.asarray(value.to_list() if hasattr(value, "to_list") else json.loads(value), np.float32)


def _write(path: Path, schema: pa.Schema, batches: Iterable[Sequence[Any]], found: ExportedGeneration) -> int:
    """Write batches of rows and return how many rows that were."""
    named = {f"regionmir.{name}": str(value) for name, value in asdict(found).items()}
    unfinished, count = path.with_suffix(".unfinished"), 0
    with pq.ParquetWriter(unfinished, schema.with_metadata(named), compression="zstd") as writer:
        for batch in batches:
            columns = {name: [line[name] for line in batch] for name in schema.names}
            writer.write_table(pa.table(columns, schema=writer.schema))
            count += len(batch)
    unfinished.rename(path)
    return count
