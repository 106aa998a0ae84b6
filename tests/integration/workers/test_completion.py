"""Results are made once a study is complete, and again only for what a late image changes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from uuid import uuid4

import pytest
from sqlalchemy import text

from db import completeness, generations, instances, peers
from db.completeness import CompleteStudy
from db.deliveries import Result
from db.engine import Database
from db.peers import Peer
from regionmir.core.errors import DatabaseUnavailable, StorageFull
from regionmir.core.identifiers import AETitle, Uid
from regionmir.core.records import InstanceState
from tests.support.outbox import outbox
from tests.support.records import embedded, generation, header, index, receive
from workers.completion import Completion


@dataclass
class OnePerStudy:
    """Plans one result for each study, named by what its images are."""

    database: Database
    asked: list[str] = field(default_factory=list)

    def plan(self, study: CompleteStudy) -> Sequence[Result]:
        self.asked.append(study.study_instance_uid)
        query = text("SELECT string_agg(sop_instance_uid, ',' ORDER BY pk) FROM instance WHERE state = 'indexed'")
        with self.database.session() as session:
            made_of = session.execute(query).scalar_one()
        uid = "2.25." + str(int(hashlib.sha256(made_of.encode()).hexdigest()[:30], 16))
        return [Result("sr", study.study_pk, study.study_instance_uid, study.model_pk, Uid(uid))]


def arrive(database: Database, number: int, source: str = "MODALITY") -> None:
    receive(database, header(number), f"content {number}", source_ae=source)


def index_all(database: Database) -> int:
    """Index what arrived and return the number of the model."""
    info = generation()
    with database.session() as session:
        model_pk = generations.ensure_model(session, info)
        claimed = instances.claim(session, "worker", 100, 60)
    for one in claimed:
        assert index(database, model_pk, one, embedded(info.anatomies, info.dim))
    return model_pk


def register(database: Database, title: str = "MODALITY", **values: object) -> None:
    with database.session() as session:
        peers.upsert(session, Peer(AETitle(title), results_to="PACS", **values))  # type: ignore[arg-type]


def age(database: Database, seconds: int) -> None:
    """Let everything have arrived so much earlier."""
    with database.session() as session:
        session.execute(text(f"UPDATE instance SET received_at = received_at - interval '{seconds} s'"))


def test_results_wait_until_a_study_is_quiet_and_indexed(database: Database) -> None:
    register(database, quiet_s=1000)
    planner = OnePerStudy(database)
    completion = Completion(database, [planner], quiet_s=5)
    arrive(database, 1)
    assert completion.look() == 0
    index_all(database)
    assert completion.look() == 0, "it came a moment ago"
    age(database, 500)
    assert completion.look() == 0
    age(database, 501)
    arrive(database, 2)
    age(database, 1001)
    assert completion.look() == 0, "one is not indexed yet"
    index_all(database)
    assert (completion.look(), completion.look()) == (1, 0)
    assert planner.asked == ["1.2.3"]
    assert [(one.destination, one.kind) for one in outbox(database)] == [("PACS", "sr")]


def test_a_late_image_makes_another_result_and_the_same_images_make_none(database: Database) -> None:
    register(database)
    completion = Completion(database, [OnePerStudy(database)], quiet_s=0)
    arrive(database, 1)
    index_all(database)
    assert completion.look() == 1
    with database.session() as session:
        assert instances.reindex(session, state=InstanceState.INDEXED) == 1
    index_all(database)
    assert completion.look() == 0, "indexed again, but of the same images"
    arrive(database, 2)
    index_all(database)
    assert completion.look() == 1
    assert len({one.sop_instance_uid for one in outbox(database)}) == 2


def test_what_we_fetched_ourselves_makes_no_new_results(database: Database) -> None:
    register(database)
    completion = Completion(database, [OnePerStudy(database)], quiet_s=0)
    arrive(database, 1)
    index_all(database)
    assert completion.look() == 1
    arrive(database, 2)
    index_all(database)
    with database.session() as session:
        session.execute(text("UPDATE instance SET called_ae = '' WHERE sop_instance_uid = '1.2.3.1.2'"))
    assert completion.look() == 0


def test_the_release_of_an_association_completes_a_study_at_once(database: Database) -> None:
    register(database, complete_on_release=True)
    completion = Completion(database, [OnePerStudy(database)], quiet_s=3600)
    arrive(database, 1)
    index_all(database)
    assert completion.look() == 0
    with database.session() as session:
        completeness.released(session, ["1.2.3"])
    assert completion.look() == 1
    arrive(database, 2)
    index_all(database)
    assert completion.look() == 0, "an earlier release says nothing of what came later"


def test_senders_without_a_destination_and_what_we_fetched_get_no_results(database: Database) -> None:
    completion = Completion(database, [OnePerStudy(database)], quiet_s=0)
    arrive(database, 1)
    index_all(database)
    assert completion.look() == 0
    register(database)
    with database.session() as session:
        session.execute(text("UPDATE instance SET called_ae = ''"))
    assert completion.look() == 0


def test_two_workers_that_find_a_study_complete_at_once_make_its_results_once(database: Database) -> None:
    class Meanwhile(Another):
        def plan(self, study: CompleteStudy) -> Sequence[Result]:
            planned = super().plan(study)
            assert Completion(database, [Another(database)], quiet_s=0).look() == 1
            return planned

    register(database)
    arrive(database, 1)
    index_all(database)
    assert Completion(database, [Meanwhile(database)], quiet_s=0).look() == 0
    assert len(outbox(database)) == 1
    arrive(database, 2)
    index_all(database)
    assert Completion(database, [Another(database)], quiet_s=0).look() == 1, "a late image makes it due again"


def test_a_worker_that_makes_results_of_a_study_lets_the_next_one_wait(database: Database) -> None:
    register(database)
    arrive(database, 1)
    model_pk = index_all(database)
    with database.session() as session:
        [study] = completeness.complete_studies(session, model_pk, quiet_s=0, limit=9)
        assert completeness.is_still_due(session, study)
        with pytest.raises(DatabaseUnavailable):
            asked_in_a_hurry(database, study)
        completeness.results_made(session, study)
    with database.session() as other:
        assert not completeness.is_still_due(other, study)


def asked_in_a_hurry(database: Database, study: CompleteStudy) -> bool:
    with database.session() as session:
        session.execute(text("SET LOCAL lock_timeout = '100ms'"))
        return completeness.is_still_due(session, study)


class Another(OnePerStudy):
    """Plans another result each time: a worker's answers have codes of their own."""

    def plan(self, study: CompleteStudy) -> Sequence[Result]:
        return [replace(one, sop_instance_uid=Uid(f"2.25.{uuid4().int}")) for one in super().plan(study)]


def test_a_result_that_comes_back_is_known_as_ours_and_not_indexed(database: Database) -> None:
    register(database)
    completion = Completion(database, [OnePerStudy(database)], quiet_s=0)
    arrive(database, 1)
    index_all(database)
    completion.look()
    receive(database, header(2, sop=outbox(database)[0].sop_instance_uid))
    with database.session() as session:
        (back,) = instances.listing(session, state=InstanceState.UNSUPPORTED)
    assert back.reason == "own_copy"


def test_what_we_fetched_and_is_then_sent_by_its_archive_gets_results(database: Database) -> None:
    register(database)
    completion = Completion(database, [OnePerStudy(database)], quiet_s=0)
    arrive(database, 1)
    index_all(database)
    with database.session() as session:
        session.execute(text("UPDATE instance SET called_ae = '', source_ae = 'FETCHED'"))
    assert completion.look() == 0
    arrive(database, 1)
    assert completion.look() == 1


def test_a_study_whose_results_meet_a_full_disk_is_due_again(database: Database) -> None:
    class Full(OnePerStudy):
        def plan(self, study: CompleteStudy) -> Sequence[Result]:
            with self.database.session() as session:
                session.execute(text("DO $$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = 'disk_full'; END $$"))
            return []

    register(database)
    arrive(database, 1)
    index_all(database)
    with pytest.raises(StorageFull):
        Completion(database, [Full(database)], quiet_s=0).look()
    assert Completion(database, [OnePerStudy(database)], quiet_s=0).look() == 1
