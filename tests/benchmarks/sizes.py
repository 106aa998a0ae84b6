"""`python -m tests.benchmarks.sizes`: bytes in PostgreSQL for each film and each region, for the capacity guide.

Sizes do not depend on how fast the machine is. The index is HNSW as production builds it. What a film's rendition
takes is told where the shared DICOM objects are: the mean of the radiographs (CR) among them.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import psycopg
from pydicom import dcmread

from regionmir.core.anatomy import anatomies
from regionmir.pixels.decode import display_image
from regionmir.pixels.rendition import DRAWN_BY, rendition
from tests.benchmarks.filling import build_indexes, fill
from tests.support.postgres import TestDatabases, throw_away_server
from tests.support.records import unit_vectors

FILMS, ANATOMIES, DIM = 4000, 4, 128
OBJECTS = Path(os.environ.get("REGIONMIR_SHARED_DIR", "../shared")) / "data" / "dicom"

_SIZES = """
    SELECT
        sum(pg_table_size(c.oid)) FILTER (WHERE c.relname LIKE 'embedding%%' AND c.relkind = 'r'),
        sum(pg_relation_size(c.oid)) FILTER (WHERE c.relname LIKE '%%_hnsw'),
        sum(pg_relation_size(c.oid)) FILTER (
            WHERE c.relname LIKE 'embedding%%' AND c.relkind = 'i' AND c.relname NOT LIKE '%%_hnsw'),
        sum(pg_total_relation_size(c.oid)) FILTER (WHERE c.relname = 'region'),
        sum(pg_total_relation_size(c.oid)) FILTER (WHERE c.relkind = 'r' AND c.relname = ANY(%s))
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public'
"""
_OF_FILMS = ["patient", "study", "series", "instance", "instance_version", "pseudonym"]


def measure() -> dict[str, float]:
    """Return bytes by what they are for."""
    found = anatomies()[:ANATOMIES]
    vectors = unit_vectors(FILMS * ANATOMIES, DIM).reshape(FILMS, ANATOMIES, DIM)
    with tempfile.TemporaryDirectory() as folder, throw_away_server(Path(folder)) as server:
        url = TestDatabases(server.url).migrated()
        fill(url, tuple(found), vectors)
        assert build_indexes(url) == ANATOMIES
        with psycopg.connect(url) as connection:
            sizes = connection.execute(_SIZES, [_OF_FILMS]).fetchone()
            of_a_rendition = _rendition_rows(connection)
    assert sizes is not None
    heap, hnsw, other, regions, films = (float(size) for size in sizes)
    rows = FILMS * ANATOMIES
    return {
        "embedding_heap": heap / rows,
        "embedding_hnsw": hnsw / rows,
        "embedding_other_indexes": other / rows,
        "region_rows": regions / rows,
        "film_rows": films / FILMS,
    } | of_a_rendition


def _rendition_rows(connection: "psycopg.Connection[Any]") -> dict[str, float]:
    """Keep a rendition for each film, of the radiographs in turn, and return what a row takes; {} without them."""
    files = sorted(file for file in OBJECTS.glob("*") if file.is_file() and file.suffix != ".md")
    drawn = [
        rendition(display_image(file)) for file in files if dcmread(file, specific_tags=["Modality"]).Modality == "CR"
    ]
    if not drawn:
        return {}
    pks = [pk for (pk,) in connection.execute("SELECT pk FROM instance")]
    rows = [(pk, DRAWN_BY, drawn[nth % len(drawn)]) for nth, pk in enumerate(pks)]
    connection.cursor().executemany("INSERT INTO rendition (instance_pk, drawn_by, jpeg) VALUES (%s, %s, %s)", rows)
    size = connection.execute("SELECT pg_total_relation_size('rendition')").fetchone()
    assert size is not None
    return {"rendition_rows": float(size[0]) / len(rows)}


if __name__ == "__main__":
    for name, size in measure().items():
        print(f"{name:26} {size:8.0f} bytes")
