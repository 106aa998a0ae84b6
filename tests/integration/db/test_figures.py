"""What the database says of the site, and the probe of recall."""

import pytest
from sqlalchemy import text

from db import embeddings, instances
from db.engine import Database
from db.figures import queue_age_s, site_figures
from db.recall import probe_recall
from regionmir.core.anatomy import anatomies
from tests.integration.db.test_embeddings import fill_leaf, index_everything, register
from tests.support.records import header, receive, unit_vectors


def test_the_age_of_the_queue_is_that_of_the_oldest_film_that_waits(database: Database) -> None:
    for number in range(3):
        receive(database, header(number, study=f"1.2.{number}"), f"{number}")
    with database.session() as session:
        session.execute(text("UPDATE instance SET received_at = now() - make_interval(secs => 100 * pk)"))
        assert 299 < queue_age_s(session) < 310
    index_everything(database, register(database, "m", 32), 32)
    with database.session() as session:
        assert queue_age_s(session) == 0


def test_what_happened_lately_is_counted_and_what_was_long_ago_is_not(database: Database) -> None:
    for number in range(3):
        receive(database, header(number, study=f"1.2.{number}"), f"{number}")
    index_everything(database, register(database, "m", 32), 32)
    with database.session() as session:
        session.execute(text("UPDATE instance SET received_at = now() - interval '10 s', indexed_at = now()"))
        session.execute(
            text(
                "UPDATE instance SET received_at = now() - interval '2 h', indexed_at = now() - interval '1 h' "
                "WHERE pk = (SELECT min(pk) FROM instance)"
            )
        )
        now = site_figures(session)
    assert now.received == 2
    assert now.indexed.count == 2
    assert now.indexed.median_s == pytest.approx(10)
    assert now.instances["indexed"] == 3
    assert (now.oldest_instance_s, now.oldest_delivery_s) == (0, 0)


def test_recall_is_measured_where_an_index_searches_and_only_there(database: Database) -> None:
    model_pk = register(database, "m", 32)
    fill_leaf(database, model_pk, unit_vectors(3000, 32))
    said: dict[str, float] = {}
    assert probe_recall(database, said.__setitem__) == 0
    embeddings.ensure_ann_indexes(database, threshold=1000)
    with database.session() as session:
        assert embeddings.indexed_leaves(session, model_pk, [1, 2]) == [1]
    for _ in range(20):  # pages are drawn at random, and a small table has few
        assert probe_recall(database, said.__setitem__) == 1
        if said:
            break
    assert list(said) == [anatomies()[0].short]
    assert 0.8 <= said[anatomies()[0].short] <= 1.0


def test_recall_tells_of_an_index_that_finds_the_wrong_ones(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_pk = register(database, "m", 32)
    fill_leaf(database, model_pk, unit_vectors(3000, 32))
    embeddings.ensure_ann_indexes(database, threshold=1000)
    right = embeddings.nearest

    def wrong(*arguments, exact: bool = False, **options):  # type: ignore[no-untyped-def]
        found = right(*arguments, exact=exact, **options)
        return found if exact else found[:5]

    monkeypatch.setattr(embeddings, "nearest", wrong)
    said: dict[str, float] = {}
    for _ in range(20):
        probe_recall(database, said.__setitem__)
    assert list(said.values()) == [0.5]


def test_instances_are_counted_by_state(database: Database) -> None:
    receive(database, header(1, study="1.2.1"), "1")
    with database.session() as session:
        assert site_figures(session).instances == instances.counts_by_state(session)
