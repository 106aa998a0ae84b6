"""Questions of ways A and C: each ends, whatever becomes of its box, its film or the database's disk."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from sqlalchemy import text

from db import deliveries, drawn_boxes, instances, peers, wanted_answers
from db.engine import Database
from db.peers import Peer
from db.wanted_answers import ListedAnswer, Way
from regionmir.core.anatomy import Anatomy, anatomy_by_short
from regionmir.core.errors import StorageFull
from regionmir.core.identifiers import AETitle
from regionmir.core.records import Caller, Disclosure, Rights
from regionmir.results.outbox import ResultOutbox
from regionmir.storage import FileStore
from tests.support.annotations import report
from tests.support.fake_model import FakeModel
from tests.support.filing import PSEUDONYMIZER, file_film
from tests.support.films import synthetic_film
from workers.answering import Answering
from workers.completion import Completion
from workers.indexer import Indexer
from workers.planning import StudyPlanner

LLLZ, NOT_SEARCHED = anatomy_by_short("LLLZ"), anatomy_by_short("RCPA")
IN_LLLZ = (140.0, 150.0, 225.0, 205.0)
SENDER = Caller(AETitle("TEST"), "127.0.0.1", Rights(find=True), Disclosure.IDENTIFIED, registered=True)


@dataclass
class Site:
    """What a node, an index worker and a light worker have, and three films of others."""

    database: Database
    store: FileStore
    indexer: Indexer

    def send(self, made: Dataset, way: Way, *asked: Anatomy) -> None:
        """File an object that asks, as the node does."""
        uid = file_film(self.database, self.store, made)
        with self.database.session() as session:
            wanted_answers.want(session, way, uid, asked, SENDER, "PACS")

    def answer(self) -> list[ListedAnswer]:
        """Answer what can be, and return what is wanted, newest first."""
        Answering(self.database, 3, ResultOutbox(PSEUDONYMIZER)).answer_waiting()
        with self.database.session() as session:
            return wanted_answers.listing(session)

    def complete(self) -> int:
        planner = StudyPlanner(self.database, PSEUDONYMIZER, (), 3)
        return Completion(self.database, [planner], quiet_s=0).look()

    def run(self, statement: str) -> None:
        with self.database.session() as session:
            session.execute(text(statement))


@pytest.fixture
def site(database: Database, tmp_path: Path) -> Iterator[Site]:
    store = FileStore(tmp_path)
    made = Site(database, store, Indexer(database, store, FakeModel(), 4, lease_s=60))
    with database.session() as session:
        peers.upsert(session, Peer(AETitle("TEST"), disclosure=Disclosure.IDENTIFIED, results_to="PACS"))
        peers.upsert(session, Peer(AETitle("PACS"), disclosure=Disclosure.IDENTIFIED))
    for seed in range(3):
        file_film(database, store, synthetic_film(seed), source_ae="LOADER")
    made.indexer.drain()
    yield made
    made.indexer.close()


def with_a_box_on_an_object_that_is_gone(site: Site) -> None:
    film = synthetic_film(9)
    uid = file_film(site.database, site.store, film, source_ae="LOADER")
    site.indexer.drain()
    site.send(report(film, IN_LLLZ, LLLZ), "C")
    site.indexer.drain()
    with site.database.session() as session:
        found = instances.detail(session, uid)
    assert found is not None
    site.store.path(found.storage_key).unlink()


def test_a_box_on_a_film_whose_object_is_gone_is_refused_with_the_reason(site: Site) -> None:
    with_a_box_on_an_object_that_is_gone(site)
    assert site.answer()[0].state == "waiting"
    assert site.indexer.embed_boxes() == 1
    (refused,) = site.answer()
    assert (refused.state, refused.reason[:26]) == ("refused", "the box was not embedded: ")
    assert site.indexer.embed_boxes() == 0, "it is not asked for again"


def test_a_box_that_kills_its_worker_is_given_up(site: Site) -> None:
    with_a_box_on_an_object_that_is_gone(site)
    for _ in range(3):
        site.answer()
        with site.database.session() as session:
            assert drawn_boxes.claim(session, 1) is not None
        site.run("UPDATE drawn_box SET lease_until = now() - interval '1 s'")
    assert site.indexer.embed_boxes() == 0
    assert site.answer()[0].reason == "the box was not embedded: crashed the worker"


def test_a_question_waits_while_the_disk_of_the_database_is_full(site: Site) -> None:
    site.send(synthetic_film(5), "A", LLLZ)
    site.indexer.drain()
    site.run(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = 'disk_full'; END $$"
    )
    site.run("CREATE TRIGGER full_disk BEFORE INSERT ON result_set EXECUTE FUNCTION full_disk()")
    with pytest.raises(StorageFull):
        site.answer()
    site.run("DROP TRIGGER full_disk ON result_set")
    assert site.answer()[0].state == "answered"


def test_a_film_whose_question_is_refused_gets_the_report_that_other_films_get(site: Site) -> None:
    site.send(synthetic_film(5), "A", NOT_SEARCHED)
    site.indexer.drain()
    assert site.complete() == 0, "what it asks may be answered with a report"
    assert site.answer()[0].state == "refused"
    assert site.complete() == 1
    with site.database.session() as session:
        assert [one.destination for one in deliveries.listing(session)] == ["PACS"]


def test_a_film_whose_question_is_answered_gets_its_report_once(site: Site) -> None:
    site.send(synthetic_film(5), "A", LLLZ)
    site.indexer.drain()
    assert site.complete() == 0
    assert site.answer()[0].state == "answered"
    assert site.complete() == 0
    with site.database.session() as session:
        assert len(deliveries.listing(session)) == 1
