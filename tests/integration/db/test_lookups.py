"""Anchors, peers, pseudonyms and result sets."""

from dataclasses import replace

import pytest
from sqlalchemy import func, text, update

from db import anchors, generations, instances, peers, pseudonyms, query_log, result_sets
from db.engine import Database
from db.peers import Peer
from db.tables import InstanceRow
from regionmir.core.identifiers import AETitle, Uid
from regionmir.core.records import Disclosure, InstanceState
from tests.support.records import PSEUDONYMIZER, element, generation, header, receive


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("A1.2.3", ["1.2.3.1.2", "1.2.3.1.1"]),
        ("1.2.3", ["1.2.3.1.2", "1.2.3.1.1"]),
        ("1.2.3.1", ["1.2.3.1.2", "1.2.3.1.1"]),
        ("1.2.3.1.2", ["1.2.3.1.2"]),
        (PSEUDONYMIZER.uid("study", Uid("1.2.3")), ["1.2.3.1.2", "1.2.3.1.1"]),
        (PSEUDONYMIZER.uid("series", Uid("1.2.3.1")), ["1.2.3.1.2", "1.2.3.1.1"]),
        (PSEUDONYMIZER.uid("instance", Uid("1.2.3.1.1")), ["1.2.3.1.1"]),
        ("P1", []),
        ("1.2.4", []),
        ("", []),
        ("a\0b", []),
    ],
)
def test_an_anchor_is_named_by_accession_number_uid_or_pseudonym(
    database: Database, name: str, found: list[str]
) -> None:
    receive(database, header(1), "one")
    receive(database, header(2), "two")
    with database.session() as session:
        studies = anchors.find_anchor(session, name)
        assert [i.sop_instance_uid for study in studies for i in study.instances] == found
        assert all(study.study_instance_uid == "1.2.3" for study in studies)


def test_a_shared_accession_number_names_several_studies_newest_first(database: Database) -> None:
    shared = element("SH", "SAME")
    for study in ("1.1", "1.2", "1.3"):
        receive(database, header(1, study=study, t00080050=shared), study)
    with database.session() as session:
        assert [s.study_instance_uid for s in anchors.find_anchor(session, "SAME")] == ["1.3", "1.2", "1.1"]


def test_an_empty_accession_number_names_nothing(database: Database) -> None:
    receive(database, header(t00080050=element("SH")))
    with database.session() as session:
        assert anchors.find_anchor(session, "") == []


def test_the_last_studies_are_those_of_the_named_sources_within_the_time(database: Database) -> None:
    receive(database, header(1, study="1.1"), "one", source_ae="ROOM1")
    receive(database, header(1, study="1.2"), "two", source_ae="ROOM2")
    receive(database, header(1, study="1.3"), "three", source_ae="ROOM1")
    with database.session() as session:
        found = anchors.latest_from(session, ["ROOM1"], 900)
        assert [s.study_instance_uid for s in found] == ["1.3", "1.1"]
        assert [i.state for s in found for i in s.instances] == [InstanceState.RECEIVED] * 2
        assert found[0].indexed == ()
        session.execute(update(InstanceRow).values(received_at=func.now() - text("interval '16 min'")))
        assert anchors.latest_from(session, ["ROOM1"], 900) == []


def test_a_peer_is_registered_replaced_and_forgotten(database: Database) -> None:
    pacs = Peer(
        AETitle("PACS"),
        "pacs.example",
        104,
        "10.0.0.0/8",
        can_store=True,
        can_correct=True,
        disclosure=Disclosure.IDENTIFIED,
        results_to="PACS",
        last_from=(AETitle("ROOM1"), AETitle("ROOM2")),
        explain_row=False,
    )
    with database.session() as session:
        peers.upsert(session, pacs)
        peers.upsert(session, Peer(AETitle("ALPHA")))
        assert peers.get(session, "PACS") == pacs
        assert peers.get(session, "pacs") is None
        peers.upsert(session, replace(pacs, port=11112))
        assert [(p.ae_title, p.port, p.is_destination) for p in peers.listing(session)] == [
            ("ALPHA", None, False),
            ("PACS", 11112, True),
        ]
        assert peers.remove(session, "PACS")
        assert not peers.remove(session, "PACS")


def test_pseudonyms_are_found_both_ways(database: Database) -> None:
    receive(database, header())
    with database.session() as session:
        uid = Uid("1.2.3")
        assert pseudonyms.for_originals(session, pseudonyms.STUDY, [uid, "9.9"]) == {
            uid: PSEUDONYMIZER.uid("study", uid)
        }
        assert pseudonyms.for_originals(session, pseudonyms.STUDY, []) == {}
        assert pseudonyms.lookup(session, pseudonyms.STUDY, PSEUDONYMIZER.uid("study", uid)) == uid
        assert pseudonyms.lookup(session, pseudonyms.SERIES, PSEUDONYMIZER.uid("study", uid)) is None


def test_an_answer_is_kept_under_a_code(database: Database) -> None:
    receive(database, header())
    with database.session() as session:
        model_pk = generations.ensure_model(session, generation())
        (instance,) = instances.listing(session)
        code = result_sets.create(
            session,
            model_pk=model_pk,
            anatomy_pk=1,
            anchor_instance_pk=instance.pk,
            k=10,
            caller_ae="ASKER",
            disclosure=Disclosure.PSEUDONYMOUS,
            hits=[{"rank": 1, "similarity": 0.9}],
        )
        kept = result_sets.get(session, code.lower())
        assert kept is not None
        assert (kept.code, kept.anchor_instance_pk, kept.disclosure) == (code, instance.pk, Disclosure.PSEUDONYMOUS)
        assert kept.hits == ({"rank": 1, "similarity": 0.9},)
        assert result_sets.get(session, "00000000") is None
        assert result_sets.get(session, "no code") is None
        anchor = anchors.of_instance(session, instance.pk)
        assert anchor is not None
        assert anchor.study_instance_uid == "1.2.3"
        assert anchors.of_instance(session, 10**6) is None


def test_queries_are_counted_by_how_they_ended(database: Database) -> None:
    with database.session() as session:
        for outcome, duration in (("ok", 10.0), ("ok", 30.0), ("unknown-anchor", 1.0)):
            query_log.record(
                session, caller_ae="A\0", address="", kind="similar", outcome=outcome, hits=1, duration_ms=duration
            )
        found = {(recent.kind, recent.outcome): recent for recent in query_log.recent(session, 60)}
        assert found[("similar", "ok")].count == 2
        assert found[("similar", "ok")].median_ms == pytest.approx(20.0)
        assert found[("similar", "unknown-anchor")].count == 1
