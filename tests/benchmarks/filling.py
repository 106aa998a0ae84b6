"""Fills a database with many indexed films in seconds: headers as the node files them, regions by COPY."""

import numpy as np
import numpy.typing as npt
import psycopg

from db import generations
from db.embeddings import ensure_ann_indexes
from db.engine import Database
from regionmir.core.anatomy import Anatomy
from tests.support.records import generation
from tests.support.seed import film, receive_films

_AT_ONCE = 1000
"""Films of one transaction, which takes a lock for each."""

_OF_INSTANCES = """
    SELECT i.pk, s.pk, p.pk, s.study_date, p.sex, i.age_years, i.view, i.pixel_sha256
    FROM instance i JOIN series e ON e.pk = i.series_pk JOIN study s ON s.pk = e.study_pk
    JOIN patient p ON p.pk = s.patient_pk ORDER BY i.pk
"""


def fill(url: str, anatomies: tuple[Anatomy, ...], vectors: npt.NDArray[np.float32]) -> int:
    """File one film for each of `vectors` (N, A, D), of a patient of its own; return the model's key.

    Its accession number is `ACC<n>`. Afterwards the tables are vacuumed and have their statistics.
    """
    database = Database(url, application_name="benchmark")
    info = generation("many", vectors.shape[2], anatomies)
    with database.session() as session:
        model_pk = generations.ensure_model(session, info)
    for start in range(0, len(vectors), _AT_ONCE):
        receive_films(database, [film(number) for number in range(start, min(start + _AT_ONCE, len(vectors)))])
    database.close()
    with psycopg.connect(url, autocommit=True) as connection:
        with connection.transaction():
            connection.execute(
                "UPDATE instance SET state = 'indexed', indexed_at = now(), pixel_sha256 = sop_instance_uid"
            )
            rows = connection.execute(_OF_INSTANCES).fetchall()
            _copy_regions(connection, model_pk, anatomies, [row[0] for row in rows])
            _copy_embeddings(connection, model_pk, anatomies, rows, vectors)
        connection.execute("VACUUM (ANALYZE, SKIP_LOCKED)")
    return model_pk


def build_indexes(url: str) -> int:
    """Build the HNSW index of every leaf, as production does from `ANN_THRESHOLD` rows on; return how many."""
    database = Database(url, application_name="benchmark")
    built = ensure_ann_indexes(database, threshold=1)
    database.close()
    return len(built)


def _copy_regions(
    connection: "psycopg.Connection[tuple[object, ...]]", model_pk: int, anatomies: tuple[Anatomy, ...], pks: list[int]
) -> None:
    columns = "instance_pk, model_pk, anatomy_pk, x0, y0, x1, y1, score"
    with connection.cursor().copy(f"COPY region ({columns}) FROM STDIN") as copy:
        for pk in pks:
            for anatomy in anatomies:
                copy.write_row((pk, model_pk, anatomy.key, 10.0, 10.0, 100.0, 120.0, 0.9))


def _copy_embeddings(
    connection: "psycopg.Connection[tuple[object, ...]]",
    model_pk: int,
    anatomies: tuple[Anatomy, ...],
    rows: list[tuple[object, ...]],
    vectors: npt.NDArray[np.float32],
) -> None:
    found = connection.execute("SELECT instance_pk, anatomy_pk, pk FROM region").fetchall()
    region_pks = {(instance_pk, anatomy_pk): pk for instance_pk, anatomy_pk, pk in found}
    columns = "instance_pk, study_pk, patient_pk, study_date, sex, age_years, view, pixel_sha256"
    with connection.cursor().copy(f"COPY embedding ({columns}, model_pk, anatomy_pk, region_pk, v) FROM STDIN") as copy:
        for row, of_film in zip(rows, vectors, strict=True):
            for anatomy, vector in zip(anatomies, of_film, strict=True):
                text = "[" + ",".join(f"{value:.5g}" for value in vector) + "]"
                copy.write_row((*row, model_pk, anatomy.key, region_pks[row[0], anatomy.key], text))
