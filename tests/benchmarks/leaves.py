"""Leaves of many embeddings, spread as real ones are, by binary COPY: no films, no regions, only what a search reads.

Row n of every leaf is of instance, region and study n. Its filter columns are known by n, so that the exact answer to a
filtered search can be told without the database: see `columns`.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import psycopg

from db import generations
from db.engine import Database
from regionmir.core.anatomy import Anatomy
from tests.benchmarks.spectra import fitted, spectra
from tests.support.records import generation

DAYS: Final = 1000
FIRST_DAY: Final = 7305
"""2020-01-01 in days since 2000-01-01, as PostgreSQL counts."""

TOLERANCE: Final = 0.2
"""By what share the participation ratio of the generated vectors may differ from that of the real ones."""

_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_ROWS_AT_ONCE: Final = 20_000

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Columns:
    """What N rows of a leaf are filtered by, each (N,)."""

    patient: npt.NDArray[np.int64]
    """Two films of each patient."""
    day: npt.NDArray[np.int64]
    """Of 1,000 equally frequent days."""
    age: npt.NDArray[np.float64]
    """0 to 100, by rank along the vectors' widest direction: it correlates with the distance as far as that can be."""
    sex: npt.NDArray[np.bytes_]
    view: npt.NDArray[np.bytes_]
    """Every thousandth is AP, the others are PA."""


def vectors(anatomy: Anatomy, count: int) -> Floats:
    """Return unit vectors (count, D) as PostgreSQL keeps them, the same at each call.

    Asserts that they use as many directions as the real ones: participation ratios within `TOLERANCE`.
    """
    real = spectra()[anatomy]
    drawn = real.sample(count, anatomy.key)
    if count >= 10 * len(real.mean):
        ratio = fitted(drawn[:50_000]).participation_ratio / real.participation_ratio
        assert abs(ratio - 1) <= TOLERANCE, f"{anatomy.short}: participation ratio {ratio:.2f} of the real one"
    return drawn.astype(np.float16).astype(np.float32)


def columns(found: Floats) -> Columns:
    """Return the filter columns of the leaf that has these vectors (N, D)."""
    n = np.arange(len(found))
    centred = found - found.mean(axis=0)
    sample = centred[:: max(1, len(found) // 5000)]
    widest = np.linalg.svd(sample, full_matrices=False)[2][0]
    rank = np.argsort(np.argsort(centred @ widest))
    scattered = (n * 7919) % len(n)  # 7919 is a prime: neighbours in time are no neighbours in the table
    return Columns(
        patient=n // 2,
        day=scattered % DAYS,
        age=100.0 * rank / len(n),
        sex=np.where(n % 2, b"F", b"M"),
        view=np.where(scattered % 1000 == 0, b"AP", b"PA"),
    )


def register(url: str, anatomies: tuple[Anatomy, ...], dim: int) -> int:
    """Register the generation that the leaves are of and return its number."""
    database = Database(url, application_name="benchmark")
    with database.session() as session:
        model_pk = generations.ensure_model(session, generation("many", dim, anatomies))
    database.close()
    return model_pk


def fill_leaf(
    connection: "psycopg.Connection[Any]", model_pk: int, anatomy: Anatomy, found: Floats, known: Columns
) -> None:
    """Fill the leaf of one anatomy with vectors (N, D)."""
    names = "model_pk, anatomy_pk, region_pk, instance_pk, study_pk, patient_pk, study_date, sex, age_years, view"
    statement = f"COPY {generations.leaf_name(model_pk, anatomy.key)} ({names}, pixel_sha256, v) FROM STDIN"
    with connection.cursor().copy(f"{statement} WITH (FORMAT BINARY)") as copy:
        copy.write(_HEADER)
        for start in range(0, len(found), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            copy.write(_packed(model_pk, anatomy, start, found[rows], known, rows))
        copy.write(b"\xff\xff")


def _packed(model_pk: int, anatomy: Anatomy, start: int, found: Floats, known: Columns, rows: slice) -> bytes:
    """Return rows as COPY takes them: each value behind its length, all big-endian."""
    dim = found.shape[1]
    n = np.arange(start, start + len(found))
    values: list[tuple[str, Any]] = [
        (">i4", model_pk),
        (">i2", anatomy.key),
        (">i8", n),
        (">i8", n),
        (">i8", n),
        (">i8", known.patient[rows]),
        (">i4", FIRST_DAY + known.day[rows]),
        ("S1", known.sex[rows]),
        (">f8", known.age[rows]),
        ("S2", known.view[rows]),
        ("S10", np.char.mod(b"%010d", n)),
    ]
    fields = [("count", ">i2")]
    for index, (kind, _) in enumerate(values):
        fields += [(f"length{index}", ">i4"), (f"value{index}", kind)]
    vector = [("length", ">i4"), ("dim", ">i2"), ("unused", ">i2"), ("v", ">f2", (dim,))]
    packed = np.zeros(len(found), np.dtype([*fields, *vector]))
    packed["count"] = len(values) + 1
    for index, (kind, value) in enumerate(values):
        packed[f"length{index}"] = np.dtype(kind).itemsize
        packed[f"value{index}"] = value
    packed["length"], packed["dim"], packed["v"] = 4 + 2 * dim, dim, found
    return packed.tobytes()
