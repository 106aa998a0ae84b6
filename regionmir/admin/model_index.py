"""The approximate index as it ships, to be judged: pgvector's HNSW over half precision, in a server of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg

from db.embeddings import HNSW_EF_CONSTRUCTION, HNSW_M, ef_search
from models.evaluate.neighbours import Search
from regionmir.admin.postgres import LocalPostgres

_INDEX = (
    "CREATE INDEX ON entry USING hnsw ((v::halfvec({dim})) halfvec_ip_ops) "  # of the width that is asked for
    f"WITH (m = {HNSW_M}, ef_construction = {HNSW_EF_CONSTRUCTION})"
)


@contextmanager
def throw_away_index() -> Iterator[Search]:
    """Yield a search in an HNSW index built as the database builds it. The server is gone afterwards.

    Raises `ConfigurationError` where PostgreSQL cannot run here.
    """
    with TemporaryDirectory(prefix="regionmir-index-") as folder:
        server = LocalPostgres(Path(folder) / "data", Path(folder) / "socket")
        server.initialise()
        server.start()
        try:
            with psycopg.connect(server.admin_url, autocommit=True) as connection:
                yield lambda base, queries, k: _search(connection, base, queries, k)
        finally:
            server.stop()


def _search(
    connection: "psycopg.Connection[Any]", base: npt.NDArray[np.float32], queries: npt.NDArray[np.float32], k: int
) -> npt.NDArray[np.int64]:
    dim = base.shape[1]
    connection.execute("DROP TABLE IF EXISTS entry")
    connection.execute(f"CREATE TABLE entry (row bigint, v halfvec({dim}))")
    with connection.cursor().copy("COPY entry (row, v) FROM STDIN") as copy:
        for row, vector in enumerate(base):
            copy.write_row((row, _text(vector)))
    connection.execute(_INDEX.format(dim=dim))
    connection.execute(f"SET enable_seqscan = off; SET hnsw.ef_search = {ef_search(k, len(base))}")
    connection.execute("SET hnsw.iterative_scan = 'strict_order'")
    found = np.full((len(queries), k), -1, dtype=np.int64)
    ask = f"SELECT row FROM entry ORDER BY v::halfvec({dim}) <#> %s::halfvec({dim}) LIMIT {int(k)}"  # noqa: S608
    for i, query in enumerate(queries):
        rows = [row for (row,) in connection.execute(ask, (_text(query),))]
        found[i, : len(rows)] = rows
    return found


def _text(vector: npt.NDArray[np.float32]) -> str:
    return "[" + ",".join(f"{v:.6g}" for v in vector) + "]"
