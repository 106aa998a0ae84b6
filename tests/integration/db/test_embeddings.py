"""Generations of different widths side by side, and searching them with and without an index."""

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from db import embeddings, generations, instances, regions
from db.embeddings import NeighbourFilter
from db.engine import Database
from db.instances import IndexedFilm
from db.tables import EmbeddingRow
from regionmir.core.anatomy import anatomies
from regionmir.core.errors import ModelError
from regionmir.core.geometry import Box
from tests.support.records import element, embedded, generation, header, index, receive, unit_vectors


def register(database: Database, name: str, dim: int) -> int:
    with database.session() as session:
        return generations.ensure_model(session, generation(name, dim))


def index_everything(database: Database, model_pk: int, dim: int) -> None:
    with database.session() as session:
        instances.reindex(session, everything=True)
        claimed = instances.claim(session, "worker", 100, 60)
    for number, one in enumerate(claimed):
        assert index(database, model_pk, one, embedded(anatomies()[:3], dim, seed=number))


def fill_leaf(database: Database, model_pk: int, vectors: npt.NDArray[np.float32], anatomy_pk: int = 1) -> None:
    """Put bare embeddings into a leaf: number n has region, instance and study n, patient n // 10, age n % 100."""
    with database.session() as session:
        raw = session.connection().connection.cursor()
        with raw.copy(
            "COPY embedding (model_pk, anatomy_pk, region_pk, instance_pk, study_pk, patient_pk, study_date, sex, "
            "age_years, view, pixel_sha256, v) FROM STDIN"
        ) as copy:
            for n, vector in enumerate(vectors):
                sex, view = "FM"[n % 2], ("PA", "AP")[n % 2]
                numbers = "[" + ",".join(f"{x:.5f}" for x in vector) + "]"
                day = dt.date(2000, 1, 1) + dt.timedelta(days=n % 5000)
                copy.write_row((model_pk, anatomy_pk, n, n, n, n // 10, day, sex, n % 100, view, f"px{n}", numbers))
        raw.close()
        session.execute(text("ANALYZE embedding"))


def nearest_by_numpy(
    vectors: npt.NDArray[np.float32], query: npt.NDArray[np.float32], keep: npt.NDArray[np.bool_]
) -> list[int]:
    order = np.argsort(-(vectors @ query), kind="stable")
    return [int(n) for n in order if keep[n]]


def test_models_of_64_and_128_dimensions_are_searched_side_by_side(database: Database) -> None:
    small, wide = register(database, "small", 64), register(database, "wide", 128)
    for number in range(4):
        receive(database, header(number, study=f"1.2.{number}"), f"{number}")
    index_everything(database, small, 64)
    index_everything(database, wide, 128)
    for model_pk, dim in ((small, 64), (wide, 128)):
        vector = embedded(anatomies()[:3], dim, seed=2)[1].vector
        with database.session() as session:
            found = embeddings.nearest(session, model_pk=model_pk, anatomy_pk=2, dim=dim, vector=vector, limit=3)
        assert len(found) == 3
        assert found[0].similarity == pytest.approx(1.0, abs=2e-3)
        assert found == sorted(found, key=lambda one: -one.similarity)


def test_a_leaf_refuses_vectors_of_another_width(database: Database) -> None:
    model_pk = register(database, "small", 64)
    receive(database, header())
    with database.session() as session:
        (claimed,) = instances.claim(session, "worker", 1, 60)
    with pytest.raises(DBAPIError, match="width"):
        index(database, model_pk, claimed, embedded(anatomies()[:1], 128))


def test_the_region_a_query_starts_from_comes_with_its_vector(database: Database) -> None:
    model_pk = register(database, "small", 64)
    receive(database, header())
    index_everything(database, model_pk, 64)
    expected = embedded(anatomies()[:3], 64, seed=0)[0]
    with database.session() as session:
        (instance,) = instances.listing(session)
        found = embeddings.region_vector(session, instance.pk, model_pk, 1)
        assert found is not None
        assert found.box == expected.region.box
        assert found.score == pytest.approx(0.9)
        np.testing.assert_allclose(found.vector, expected.vector, atol=1e-3)
        assert found.vector.dtype == np.float32
        assert embeddings.region_vector(session, instance.pk, model_pk, 5) is None


def test_an_anatomy_that_the_model_lacks_has_no_neighbours(database: Database) -> None:
    model_pk = register(database, "small", 64)
    with database.session() as session:
        vector = unit_vectors(1, 64)[0]
        assert embeddings.nearest(session, model_pk=model_pk, anatomy_pk=29, dim=64, vector=vector, limit=3) == []


def test_filters_restrict_what_is_found(database: Database) -> None:
    model_pk = register(database, "small", 64)
    vectors = unit_vectors(400, 64)
    fill_leaf(database, model_pk, vectors)
    numbers = np.arange(400)
    cases = {
        NeighbourFilter(exclude_patient_pks=(0,)): numbers >= 10,
        NeighbourFilter(exclude_patient_pks=(0, 2)): (numbers >= 30) | ((numbers >= 10) & (numbers < 20)),
        NeighbourFilter(exclude_study_pk=7): numbers != 7,
        NeighbourFilter(exclude_pixel_sha256="px7"): numbers != 7,
        NeighbourFilter(sex="F"): numbers % 2 == 0,
        NeighbourFilter(view="AP"): numbers % 2 == 1,
        NeighbourFilter(age_min=20, age_max=29): (numbers % 100 >= 20) & (numbers % 100 <= 29),
        NeighbourFilter(study_date_first=dt.date(2000, 1, 11), study_date_last=dt.date(2000, 1, 20)): (numbers >= 10)
        & (numbers < 20),
    }
    for filters, keep in cases.items():
        with database.session() as session:
            found = embeddings.nearest(
                session, model_pk=model_pk, anatomy_pk=1, dim=64, vector=vectors[7], limit=10, filters=filters
            )
        assert [one.region_pk for one in found] == nearest_by_numpy(vectors, vectors[7], keep)[:10], filters


def test_an_index_is_built_where_a_leaf_is_large_and_finds_nearly_all_that_comparing_finds(database: Database) -> None:
    model_pk = register(database, "small", 64)
    vectors = unit_vectors(3000, 64)
    fill_leaf(database, model_pk, vectors)
    assert embeddings.ensure_ann_indexes(database, threshold=4000) == []
    assert embeddings.ensure_ann_indexes(database, threshold=3000) == [f"embedding_m{model_pk}_a1_hnsw"]
    assert embeddings.ensure_ann_indexes(database, threshold=3000) == []
    everything = np.ones(3000, dtype=bool)
    found = 0
    for query in unit_vectors(20, 64, seed=1):
        with database.session() as session:
            near = embeddings.nearest(session, model_pk=model_pk, anatomy_pk=1, dim=64, vector=query, limit=20)
            plan = session.execute(
                text(
                    f"EXPLAIN SELECT * FROM embedding WHERE model_pk = {model_pk} AND anatomy_pk = 1 "
                    f"ORDER BY v::halfvec(64) <#> '{query.tolist()}' LIMIT 20"
                )
            )
            assert "_hnsw" in "\n".join(line[0] for line in plan)
        found += len({one.region_pk for one in near} & set(nearest_by_numpy(vectors, query, everything)[:20]))
    assert found / (20 * 20) > 0.9


@pytest.mark.parametrize("counted_to", [1, 10_000])
def test_a_filtered_search_is_never_short_of_hits_that_exist(
    database: Database, monkeypatch: pytest.MonkeyPatch, counted_to: int
) -> None:
    """Few rows pass: all are compared. The index gives up after a number of rows: that must lose none either."""
    model_pk = register(database, "small", 64)
    vectors = unit_vectors(3000, 64)
    fill_leaf(database, model_pk, vectors)
    embeddings.ensure_ann_indexes(database, threshold=3000)
    monkeypatch.setattr(embeddings, "EXACT_UP_TO", counted_to)
    monkeypatch.setattr(embeddings, "HNSW_M", 1)  # how far the index goes
    filters = NeighbourFilter(age_min=99, study_date_last=dt.date(2003, 1, 1))
    keep = (np.arange(3000) % 100 == 99) & (np.arange(3000) <= 1096)
    with database.session() as session:
        session.execute(text("SET LOCAL enable_bitmapscan = off"))
        found = embeddings.nearest(
            session, model_pk=model_pk, anatomy_pk=1, dim=64, vector=vectors[0], limit=10, filters=filters
        )
    assert [one.region_pk for one in found] == nearest_by_numpy(vectors, vectors[0], keep)[:10]


def test_hits_behind_a_filter_come_by_falling_similarity_and_are_nearly_all_of_the_nearest(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index goes on where too few pass, and gives what it finds then in no strict order."""
    model_pk = register(database, "small", 64)
    vectors = unit_vectors(3000, 64)
    fill_leaf(database, model_pk, vectors)
    embeddings.ensure_ann_indexes(database, threshold=3000)
    monkeypatch.setattr(embeddings, "EXACT_UP_TO", 1)
    monkeypatch.setattr(embeddings, "EXACT_SHARE", 0)
    keep, right = np.arange(3000) % 100 >= 90, 0
    for query in unit_vectors(20, 64, seed=1):
        with database.session() as session:
            found = embeddings.nearest(
                session, model_pk=model_pk, anatomy_pk=1, dim=64, vector=query, limit=20,
                filters=NeighbourFilter(age_min=90),
            )  # fmt: skip
        assert [one.similarity for one in found] == sorted((one.similarity for one in found), reverse=True)
        right += len({one.region_pk for one in found} & set(nearest_by_numpy(vectors, query, keep)[:20]))
    assert right / (20 * 20) > 0.9


@pytest.mark.parametrize(
    ("rows", "kept"), [(0, 140), (50_000, 140), (200_000, 280), (500_000, 442), (50_000_000, 1000)]
)
def test_more_candidates_are_kept_in_a_larger_leaf(rows: int, kept: int) -> None:
    assert embeddings.ef_search(40, rows) == kept


def test_what_passes_a_filter_is_counted_by_the_index_on_it_alone(database: Database) -> None:
    model_pk = register(database, "small", 64)
    fill_leaf(database, model_pk, unit_vectors(3000, 64))
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE embedding"))
    statement = embeddings._count_statement(f"embedding_m{model_pk}_a1", ("age_min",)).params(age_min=95, most=100)
    asked = statement.compile(database.engine, compile_kwargs={"literal_binds": True})
    with database.session() as session:
        session.execute(text("SET LOCAL enable_seqscan = off"))
        plan = session.execute(text(f"EXPLAIN {asked}")).scalars()
        assert "Index Only Scan" in "\n".join(plan)


def test_an_index_whose_build_was_cut_off_is_not_used_and_built_again(database: Database) -> None:
    model_pk = register(database, "small", 64)
    fill_leaf(database, model_pk, unit_vectors(3000, 64))
    name = f"embedding_m{model_pk}_a1_hnsw"
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = 20"))
        with pytest.raises(DBAPIError, match="timeout"):
            connection.execute(
                text(
                    f"CREATE INDEX CONCURRENTLY {name} ON embedding_m{model_pk}_a1 "
                    "USING hnsw ((v::halfvec(64)) halfvec_ip_ops)"
                )
            )
        assert (
            connection.scalar(text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:n)"), {"n": name})
            is False
        )
        connection.execute(text("RESET statement_timeout"))
    assert embeddings.ensure_ann_indexes(database, threshold=3000) == [name]


def test_the_first_generation_is_active_and_another_takes_over_by_name(database: Database) -> None:
    with database.session() as session:
        assert generations.active(session) is None
    first, second = register(database, "first", 64), register(database, "second", 64)
    with database.session() as session:
        found = generations.active(session)
        assert found is not None
        assert (found.pk, found.info) == (first, generation("first", 64))
        generations.activate(session, second)
    with database.session() as session:
        assert [(one.pk, one.status) for one in generations.listing(session)] == [
            (first, "previous"),
            (second, "active"),
        ]
        with pytest.raises(ModelError):
            generations.activate(session, 999)


def test_processes_that_register_one_generation_at_once_get_the_same_key(database: Database) -> None:
    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(lambda _: register(database, "small", 64), range(6)))) == 1


def test_equal_weights_of_another_width_are_refused(database: Database) -> None:
    register(database, "small", 64)
    with pytest.raises(ModelError):
        register(database, "small", 128)


def test_searches_go_on_while_a_generation_is_registered(database: Database) -> None:
    """Registering attaches whole tables; a reader in a transaction does not hold it up for long, nor it the reader."""
    first = register(database, "first", 64)
    with database.session() as reader:
        reader.scalars(select(EmbeddingRow.region_pk).where(EmbeddingRow.model_pk == first)).all()
        assert register(database, "second", 64) != first
        reader.scalars(select(EmbeddingRow.region_pk).where(EmbeddingRow.model_pk == first)).all()


def test_an_attribute_read_from_the_header_can_be_overruled_by_the_worker(database: Database) -> None:
    model_pk = register(database, "small", 64)
    receive(database, header(t00185101=element("CS")))
    with database.session() as session:
        (claimed,) = instances.claim(session, "worker", 1, 60)
        found = IndexedFilm(claimed, embedded(anatomies()[:1], 64), "px", "p", "AP")
        instances.finish_indexed(session, [found], owner="worker", model_pk=model_pk)
    with database.session() as session:
        assert session.scalars(select(EmbeddingRow.view)).all() == ["AP"]


def test_a_box_clipped_to_whole_pixels_is_filed_beside_one_between_them(database: Database) -> None:
    model_pk = register(database, "small", 64)
    receive(database, header())
    first, second = embedded(anatomies()[:2], 64)
    clipped = replace(second, region=replace(second.region, box=Box(0, 0, 30.5, 40)))
    with database.session() as session:
        (claimed,) = instances.claim(session, "worker", 1, 60)
        found = IndexedFilm(claimed, [first, clipped], "px", "p")
        assert instances.finish_indexed(session, [found], owner="worker", model_pk=model_pk) == {claimed.pk}
    with database.session() as session:
        boxes = [filed.region.box for filed in regions.of_instances(session, [claimed.pk])]
    assert boxes == [first.region.box, clipped.region.box]
