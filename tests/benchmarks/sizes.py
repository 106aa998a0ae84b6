"""`python -m tests.benchmarks.sizes`: bytes in PostgreSQL for each film and each region, for the capacity guide.

Sizes do not depend on how fast the machine is. The index is HNSW as production builds it.
"""

import tempfile
from pathlib import Path

import psycopg

from regionmir.core.anatomy import anatomies
from tests.benchmarks.filling import build_indexes, fill
from tests.support.postgres import TestDatabases, throw_away_server
from tests.support.records import unit_vectors

FILMS, ANATOMIES, DIM = 4000, 4, 128

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
    assert sizes is not None
    heap, hnsw, other, regions, films = (float(size) for size in sizes)
    rows = FILMS * ANATOMIES
    return {
        "embedding_heap": heap / rows,
        "embedding_hnsw": hnsw / rows,
        "embedding_other_indexes": other / rows,
        "region_rows": regions / rows,
        "film_rows": films / FILMS,
    }


if __name__ == "__main__":
    for name, size in measure().items():
        print(f"{name:26} {size:8.0f} bytes")
