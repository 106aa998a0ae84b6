"""What is deleted is in no table and no answer; what comes again is taken, hidden or refused; no object gets lost."""

import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from db import audit, deliveries, feedback, instances, objects, pacs, removal, removed, result_sets, roles
from db.deliveries import Result
from db.engine import Database
from db.feedback import Pair
from db.pacs import Pacs
from db.removal import Extent, Removal
from db.removed import Again, Why
from db.tables import Base, EmbeddingRow, InstanceRow, PatientRow, StudyRow
from regionmir.archive.removing import remove_objects
from regionmir.core.errors import StorageUnavailable
from regionmir.core.identifiers import AETitle, Uid
from regionmir.core.records import Caller, Disclosure, Rights
from regionmir.query.request import RegionQuery
from regionmir.query.search import Answer, search
from regionmir.storage import FileStore
from tests.support.filing import file_film
from tests.support.films import synthetic_film
from tests.support.records import PSEUDONYMIZER, header, receive, stored
from tests.support.seed import all_found, many_films, seed

CALLER = Caller(AETitle("VIEWER"), "127.0.0.1", Rights(find=True), Disclosure.IDENTIFIED, registered=True)
FOUND = tuple(all_found(2))
BY = Removal("operator", "sent by mistake")


def asked(database: Database, anchor: str) -> Answer:
    with database.session() as session:
        return search(session, RegionQuery(anchor, FOUND[:1], 10), CALLER)


def take_out(database: Database, level: removal.Level, original: str, by: Removal = BY) -> Extent:
    with database.session() as session:
        return removal.remove(session, removal.named(level, original), by)


def count(database: Database, table: str) -> int:
    with database.session() as session:
        return int(session.scalar(select(func.count()).select_from(Base.metadata.tables[table])) or 0)


def test_a_deleted_study_is_in_no_table_and_no_answer_with_all_that_was_made_of_it(database: Database) -> None:
    films, info = many_films(6, FOUND, 16)
    model_pk = seed(database, films, info=info)
    from_it, to_it = asked(database, "ACC3"), asked(database, "ACC0")
    with database.session() as session:
        pks = dict(session.execute(select(InstanceRow.sop_instance_uid, InstanceRow.pk)).all())
        study_pks = dict(session.execute(select(StudyRow.study_instance_uid, StudyRow.pk)).all())
        doomed, other = pks["1.2.826.0.1.3.1.1"], pks["1.2.826.0.1.1.1.1"]
        feedback.give(session, "reader", Pair(model_pk, FOUND[0], other, doomed), relevant=True)
        result = Result("sr", study_pks["1.2.826.0.1.3"], Uid("1.2.826.0.1.3"), model_pk, Uid("2.25.1"), doomed)
        deliveries.enqueue(session, result, AETitle("ARCHIVE"))
        session.execute(
            text("INSERT INTO finding (study_pk, label) VALUES (:pk, 'Nodule')"), {"pk": study_pks["1.2.826.0.1.3"]}
        )

    extent = take_out(database, "study", "1.2.826.0.1.3")

    assert replace(extent, bytes=0) == Extent(1, 1, 1, objects=1, answers=1, deliveries=1)
    after = asked(database, "ACC0")
    assert len(to_it.hits) == 5
    assert len(after.hits) == 4
    with database.session() as session:
        kept = result_sets.get(session, to_it.code)
        assert kept is not None
        assert [hit["rank"] for hit in kept.hits if hit["instance_pk"] == doomed] == []
        assert len(kept.hits) == 4
        assert result_sets.get(session, from_it.code) is None
        vectors = select(EmbeddingRow.region_pk).where(EmbeddingRow.instance_pk == doomed)
        assert session.scalars(vectors).all() == []
        assert session.scalar(select(PatientRow.pk).where(PatientRow.patient_id == "REALID3")) is None
        told = audit.listing(session, kinds=["studies deleted"])
    tables = ("study", "series", "instance", "delivery", "finding", "relevance_feedback")
    assert [count(database, table) for table in tables] == [5, 5, 5, 0, 0, 0]
    assert len(told) == 1
    assert told[0].detail["reason"] == "sent by mistake"
    for expected in ('csd-code="110105"', 'EventActionCode="D"', "REALID3", "1.2.826.0.1.3"):
        assert expected in told[0].message
    assert "Canary" not in told[0].message


def test_a_removal_scans_no_table(database: Database) -> None:
    films, info = many_films(6, FOUND, 16)
    seed(database, films, info=info)
    asked(database, "ACC3")
    asked(database, "ACC0")
    with closing(Database(database.url, application_name="removing")) as removing, removing.session() as session:
        session.execute(text("SET LOCAL enable_seqscan = off"))  # whatever is scanned now has no index
        removal.remove(session, removal.named("study", "1.2.826.0.1.3"), BY)
        scans = "SELECT relname, seq_scan FROM pg_stat_xact_user_tables WHERE seq_scan > 0"
        assert session.execute(text(scans)).all() == []


def test_every_table_that_speaks_of_instances_is_known_to_the_removal() -> None:
    """Deleting fails where a new table has a foreign key to `instance` or `study` that `db.removal` does not know."""
    known = {"region", "explanation", "relevance_feedback", "drawn_box", "wanted_answer", "result_set", "delivery"}
    known |= {"analysis", "rendition", "finding", "study_results", "series", "instance", "instance_version", "study"}
    referring = {
        table.name
        for table in Base.metadata.tables.values()
        for key in table.foreign_keys
        if key.column.table.name in ("instance", "study", "series", "patient", "result_set")
    }
    assert referring <= known


def test_what_was_deleted_is_taken_as_new_refused_or_hidden_when_it_comes_again(database: Database) -> None:
    for number, again in enumerate(Again):
        head = header(1, study=f"1.2.{number}", patient_id=f"P{number}")
        assert receive(database, head).outcome == "new"
        keep = again is Again.HIDE
        take_out(database, "instance", head.sop_instance_uid, replace(BY, again=again, keep=keep, why=Why.QUALITY))
        with database.session() as session:
            assert instances.present(session, [head.sop_instance_uid]) == set()
        first = receive(database, head)
        second = receive(database, head, "another")
        assert (first.outcome, second.outcome) == {
            Again.ACCEPT: ("new", "conflict"),
            Again.REFUSE: ("refused", "refused"),
            Again.HIDE: ("hidden", "conflict"),
        }[again]
    with database.session() as session:
        assert {one.sop_instance_uid: one.is_kept for one in removed.listing(session)} == {
            "1.2.1.1.1": True,
            "1.2.2.1.1": False,
        }


def test_an_instance_that_arrives_while_its_study_is_deleted_waits_and_is_filed_anew(database: Database) -> None:
    receive(database, header(1))
    outcomes: list[str] = []
    arriving = threading.Thread(target=lambda: outcomes.append(receive(database, header(2), "second").outcome))
    with database.session() as session:
        removal.remove(session, removal.named("study", "1.2.3"), BY)
        arriving.start()
        arriving.join(1.0)
        assert arriving.is_alive(), "it waits for the deletion"
    arriving.join(30.0)
    assert outcomes == ["new"]
    with database.session() as session:
        assert [one.sop_instance_uid for one in instances.listing(session)] == ["1.2.3.1.2"]


@pytest.mark.parametrize("at_once", [True, False])
def test_an_instance_that_arrives_while_its_series_is_emptied_waits_and_is_filed_anew(
    database: Database, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    receive(database, header(1))
    receive(database, header(2, series="1.2.3.2"), "second")
    if not at_once:
        monkeypatch.setattr("db.at_once.file", lambda _connection, _rows: False)
    outcomes: list[str] = []
    arriving = threading.Thread(target=lambda: outcomes.append(receive(database, header(3), "third").outcome))
    with database.session() as session:
        removal.remove(session, removal.named("instance", "1.2.3.1.1"), BY)
        arriving.start()
        arriving.join(1.0)
    arriving.join(30.0)
    assert outcomes == ["new"]
    assert [count(database, table) for table in ("study", "series", "instance")] == [1, 2, 2]


def test_a_study_that_has_no_instances_is_deleted_by_its_uid_and_audited(database: Database) -> None:
    receive(database, header(1))
    with database.session() as session:
        session.execute(text("DELETE FROM instance"))
    with database.session() as session:
        assert removal.measure(session, removal.named("study", "1.2.3")) == Extent(studies=1, patients=1)
    assert take_out(database, "instance", "1.2.3.1.1") == Extent()
    assert take_out(database, "study", "1.2.3") == Extent(studies=1, patients=1)
    assert [count(database, table) for table in ("study", "series", "patient")] == [0, 0, 0]
    with database.session() as session:
        (told,) = audit.listing(session, kinds=["studies deleted"])
    assert told.detail["studies"] == ["1.2.3"]
    assert 'csd-code="110105"' in told.message


def test_objects_go_after_the_commit_and_one_that_is_filed_again_stays(database: Database, tmp_path: Path) -> None:
    store, films = FileStore(tmp_path), [synthetic_film(seed) for seed in range(2)]
    for film in films:
        file_film(database, store, film)
    keys = list(store.keys())
    with database.session() as session:
        removal.remove(session, InstanceRow.sop_instance_uid.in_([film.SOPInstanceUID for film in films]), BY)
    assert list(store.keys()) == keys, "a crash here leaves them, and the tables say so"
    with database.session() as session:
        assert all(removed.is_left(session, key) for key in keys)
        assert list(objects.expected(session)) == []

    file_film(database, store, films[0])
    assert remove_objects(database, store) == 1
    assert remove_objects(database, store) == 0
    with database.session() as session:
        expected = [one.storage_key for one in objects.expected(session)]
    assert list(store.keys()) == expected
    assert len(expected) == 1


def test_an_object_that_was_removed_while_it_was_stored_again_is_not_acknowledged(database: Database) -> None:
    head = header(1)
    receive(database, head)
    take_out(database, "instance", head.sop_instance_uid)
    with pytest.raises(StorageUnavailable, match="send it again"), database.session() as session:
        instances.receive(
            session,
            head,
            stored("first"),
            source_ae="MODALITY",
            source_address="127.0.0.1",
            called_ae="REGIONMIR",
            pseudonymizer=PSEUDONYMIZER,
            may_correct=False,
            same_content=lambda _old, _new: False,
            is_stored=lambda _key: False,
        )
    with database.session() as session:
        assert instances.present(session, [head.sop_instance_uid]) == set()


def test_refused_versions_go_with_the_study_and_older_ones_with_the_instance(database: Database) -> None:
    receive(database, header(1), "first", may_correct=True)
    receive(database, header(1), "second", may_correct=True)
    receive(database, header(1), "third")
    receive(database, header(2, patient_id="OTHER"), "of another")
    assert count(database, "instance_version") == 3
    take_out(database, "study", "1.2.3")
    assert count(database, "instance_version") == 0
    with database.session() as session:
        left = removed.objects_left(session, 10)
    wanted = {stored(content).key for content in ("first", "second", "third", "of another")}
    assert {key for keys in left.values() for key in keys} == wanted


def test_deleting_a_patient_without_id_leaves_the_others_without_one(database: Database) -> None:
    for number in range(3):
        receive(database, header(1, study=f"1.2.{number}", patient_id=""))
    key = "\x1f\x1f1.2.1"
    assert take_out(database, "patient", key).instances == 1
    assert count(database, "study") == 2


@pytest.mark.parametrize("role", [roles.NODE, roles.WORKER, roles.WEB])
def test_each_process_may_take_out_what_it_is_told_to(database: Database, role: str) -> None:
    from tests.integration.db.test_roles import _url

    films, info = many_films(2, FOUND, 16)
    seed(database, films, info=info)
    asked(database, "ACC0")
    owner = Database(_url(database, ""), application_name="administrator")
    roles.apply(owner)
    owner.close()
    process = Database(_url(database, role), application_name=role)
    assert take_out(process, "study", "1.2.826.0.1.0").instances == 1
    process.close()


def test_what_the_last_pacs_has_deleted_is_taken_out_where_the_site_wants_that(database: Database) -> None:
    receive(database, header(1, study="1.2.0", patient_id="A"))
    receive(database, header(1, study="1.2.1", patient_id="B"))
    with database.session() as session:
        pacs.upsert(session, Pacs("main", url="http://127.0.0.1:8042"))
        pacs.compare(session, "main", {"1.2.0": "a", "1.2.1": "b"})
        done = pacs.compare(session, "main", {"1.2.1": "b"}, deletes=True)
    assert (done.gone, done.hidden) == (1, 1)
    with database.session() as session:
        assert [one.study_instance_uid for one in instances.listing(session)] == ["1.2.1"]
        found = removed.get(session, "1.2.0.1.1")
        assert found is not None
        assert (found.why, found.again, found.is_kept) == (Why.GONE, Again.ACCEPT, False)
        assert removed.unwanted(session, ["1.2.0.1.1"]) == set(), "it is fetched if the PACS has it again"
