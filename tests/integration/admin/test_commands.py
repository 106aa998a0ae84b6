"""The commands on a real database, as a user types them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from db import audit, deliveries, instances, peers
from db.engine import Database
from regionmir.core.identifiers import AETitle, parse_uid
from regionmir.core.pseudonyms import Pseudonymizer
from regionmir.core.records import Disclosure, InstanceHeader, StoredObject
from regionmir.queue import CeleryQueue
from tests.support.outbox import enqueue, make_results, outbox
from tests.support.terminal import Terminal


@pytest.fixture
def database(database_factory: Callable[[], str]) -> Iterator[Database]:
    database = Database(database_factory(), application_name="test")
    yield database
    database.close()


@pytest.fixture
def regionmir(
    database: Database,
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Terminal:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGIONMIR_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("REGIONMIR_DATABASE_URL", database.url.render_as_string(hide_password=False))
    monkeypatch.setenv("REGIONMIR_REDIS_URL", redis_url)
    return Terminal(monkeypatch, capsys)


def file_instance(database: Database, number: int, sha256: str = "a" * 64) -> str:
    """File a film as the node does and return its UID."""
    uid = f"1.2.3.{number}"
    header = InstanceHeader(
        sop_instance_uid=parse_uid(uid),
        sop_class_uid=parse_uid("1.2.840.10008.5.1.4.1.1.1"),
        series_instance_uid=parse_uid(f"1.2.4.{number}"),
        study_instance_uid=parse_uid(f"1.2.5.{number}"),
        transfer_syntax_uid=parse_uid("1.2.840.10008.1.2.1"),
        patient_id=f"P{number}",
        issuer_of_patient_id="",
        attributes={"00080060": {"vr": "CS", "Value": ["CR"]}},
    )
    stored = StoredObject(f"key-{number}-{sha256[:4]}", sha256, 1000, header.transfer_syntax_uid)
    with database.session() as session:
        instances.receive(
            session,
            header,
            stored,
            source_ae="SENDER",
            source_address="127.0.0.1",
            called_ae="REGIONMIR",
            pseudonymizer=Pseudonymizer(b"k" * 32),
            may_correct=False,
            same_content=lambda old, new: False,
        )
    return uid


def fail_all(database: Database, reason: str) -> None:
    with database.session() as session:
        for claimed in instances.claim(session, "test", 100, 60):
            instances.finish_failed(session, claimed, owner="test", reason=reason)


def test_status_counts_every_state_and_tells_of_queue_disk_and_model(regionmir: Terminal, database: Database) -> None:
    file_instance(database, 1)
    fail_all(database, "too dark")
    file_instance(database, 2)
    found = regionmir.json("status")
    assert found["instances"] == {"received": 1, "indexing": 0, "indexed": 0, "unsupported": 0, "failed": 1}
    assert found["studies"] == 2
    assert found["queue"] == {"waiting": 1, "wake_ups": 0}
    assert found["disk"]["instances_bytes"] == 2000
    assert found["model"] is None
    assert regionmir("status") == 0
    assert "1 received, 0 indexing, 0 indexed, 0 unsupported, 1 failed" in regionmir.out


def test_status_without_a_broker_still_answers(regionmir: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGIONMIR_REDIS_URL", "redis+socket:///nowhere")
    assert regionmir.json("status")["queue"]["wake_ups"] is None


def test_a_database_that_is_away_is_one_line(regionmir: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGIONMIR_DATABASE_URL", "postgresql://a@/b?host=/nowhere")
    assert regionmir("status") == 1
    assert len(regionmir.err.splitlines()) == 1


def test_a_database_without_tables_says_what_to_run(
    regionmir: Terminal, databases: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = databases.empty()
    monkeypatch.setenv("REGIONMIR_DATABASE_URL", url)
    assert regionmir("status") == 1
    assert "regionmir db upgrade" in regionmir.err
    assert regionmir.json("db", "current")["current"] is None
    assert regionmir("db", "upgrade") == 0
    found = regionmir.json("db", "current")
    assert found["current"] == found["needed"] is not None
    assert regionmir("status") == 0
    databases.drop(url)


def test_instances_are_listed_by_state_and_up_to_a_limit(regionmir: Terminal, database: Database) -> None:
    failed = [file_instance(database, n) for n in (1, 2)]
    fail_all(database, "too dark")
    waiting = file_instance(database, 3)
    assert [one["sop_instance_uid"] for one in regionmir.json("instances", "list")] == [*failed, waiting]
    found = regionmir.json("instances", "list", "--state", "failed")
    assert [(one["sop_instance_uid"], one["reason"]) for one in found] == [(uid, "too dark") for uid in failed]
    assert len(regionmir.json("instances", "list", "--limit", "1")) == 1
    assert regionmir("instances", "list", "--limit", "2") == 0
    assert "and more" in regionmir.out
    assert waiting not in regionmir.out


def test_a_state_that_does_not_exist_is_refused(regionmir: Terminal) -> None:
    assert regionmir("instances", "list", "--state", "asleep") == 2


def test_an_instance_is_shown_with_its_state_and_reason(regionmir: Terminal, database: Database) -> None:
    uid = file_instance(database, 1)
    fail_all(database, "too dark")
    found = regionmir.json("instances", "show", uid)
    assert (found["state"], found["reason"], found["regions"]) == ("failed", "too dark", [])
    assert regionmir("instances", "show", uid) == 0
    assert "too dark" in regionmir.out


@pytest.mark.parametrize(("uid", "code"), [("9.9.9", 1), ("not-a-uid", 2)])
def test_an_instance_that_is_not_there_is_said_not_to_be(regionmir: Terminal, uid: str, code: int) -> None:
    assert regionmir("instances", "show", uid) == code
    assert len(regionmir.err.splitlines()) == 1


def test_refused_versions_are_listed(regionmir: Terminal, database: Database) -> None:
    assert regionmir("instances", "conflicts") == 0
    assert regionmir.out == "no conflicts\n"
    uid = file_instance(database, 1, "a" * 64)
    file_instance(database, 1, "b" * 64)
    (found,) = regionmir.json("instances", "conflicts")
    assert (found["sop_instance_uid"], found["sha256"], found["kind"]) == (uid, "b" * 64, "conflict")


def test_failed_instances_are_indexed_again_and_the_workers_woken(
    regionmir: Terminal, database: Database, redis_url: str
) -> None:
    uid = file_instance(database, 1)
    fail_all(database, "too dark")
    queue = CeleryQueue(redis_url)
    before = queue.depth()
    found = regionmir.json("reindex", "--state", "failed")
    assert found["queued"] == 1
    assert found["instances"]["received"] == 1
    assert queue.depth() == before + 1
    fail_all(database, "again")
    assert regionmir.json("reindex", uid)["queued"] == 1
    fail_all(database, "again")
    assert regionmir.json("reindex", "--all")["queued"] == 1
    queue.close()


def test_without_a_broker_only_the_answer_is_on_standard_output(
    regionmir: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGIONMIR_REDIS_URL", f"redis+socket://{tmp_path}/none")
    assert regionmir.json("reindex", "--all")["queued"] == 0
    assert "the workers will find the instances a little later" in regionmir.err


@pytest.mark.parametrize("arguments", [[], ["--all", "1.2"], ["--all", "--state", "failed"]])
def test_reindex_wants_to_be_told_what(regionmir: Terminal, arguments: list[str]) -> None:
    assert regionmir("reindex", *arguments) == 2
    assert "UIDs, or --state STATE, or --all" in regionmir.err


def test_reconcile_gives_back_what_a_dead_worker_held(regionmir: Terminal, database: Database) -> None:
    file_instance(database, 1)
    with database.session() as session:
        instances.claim(session, "dead", 1, lease_s=-1)
    assert regionmir.json("reconcile") == {"requeued": 1, "waiting": 1, "woken": True}
    assert regionmir.json("reconcile")["requeued"] == 0


def test_a_peer_is_added_listed_and_removed(regionmir: Terminal, database: Database) -> None:
    options = ["--host", "10.0.0.5", "--port", "4242", "--source", "10.0.0.5", "--disclosure", "identified"]
    more = [
        "--correct",
        "--no-store",
        "--results-to",
        "PACS",
        "--last-from",
        "CR1",
        "--last-from",
        "CR2",
        "--no-explain",
    ]
    assert regionmir("peers", "add", "ORTHANC", *options, *more) == 0
    with database.session() as session:
        assert peers.get(session, "ORTHANC") == peers.Peer(
            AETitle("ORTHANC"),
            "10.0.0.5",
            4242,
            "10.0.0.5",
            can_find=True,
            can_retrieve=True,
            can_correct=True,
            disclosure=Disclosure.IDENTIFIED,
            results_to="PACS",
            last_from=(AETitle("CR1"), AETitle("CR2")),
            explain_row=False,
        )
    (found,) = regionmir.json("peers", "list")
    assert (found["ae_title"], found["disclosure"], found["last_from"]) == ("ORTHANC", "identified", ["CR1", "CR2"])
    assert regionmir("peers", "list") == 0
    assert "echo find retrieve correct" in regionmir.out
    assert "copies" not in regionmir.out
    assert regionmir("peers", "remove", "ORTHANC") == 0
    assert regionmir.json("peers", "list") == []
    with database.session() as session:
        assert [event.kind for event in audit.listing(session)] == ["peer removed", "peer added"]


def test_a_peer_that_accepts_copies_is_listed_so(regionmir: Terminal) -> None:
    assert regionmir("peers", "add", "RESEARCH", "--accepts-pseudonyms") == 0
    assert "pseudonymous, copies" in regionmir.out


def test_the_kinds_of_results_that_a_peer_is_sent_are_its_own(regionmir: Terminal) -> None:
    options = ["--host", "10.0.0.5", "--port", "104"]
    assert regionmir("peers", "add", "PACS", *options, "--results", "SR, sheet") == 0
    assert regionmir("peers", "add", "DEFAULT", *options) == 0
    assert regionmir("peers", "add", "NONE", *options, "--results", "") == 0
    found = {one["ae_title"]: one["results"] for one in regionmir.json("peers", "list")}
    assert found == {"PACS": ["sr", "sheet"], "DEFAULT": ["sr"], "NONE": []}
    assert regionmir("peers", "list") == 0
    assert "sr,sheet" in regionmir.out
    assert regionmir("peers", "add", "PACS", *options, "--results", "sr,film") == 2
    assert "--results may name sr, sheet, pdf, gsps, kos, not 'film'" in regionmir.err


def test_whose_identity_results_will_bear_is_said_when_a_peer_is_added(regionmir: Terminal) -> None:
    assert regionmir("peers", "add", "VIEWER", "--results-to", "PACS") == 0
    assert "results to PACS: nowhere yet" in regionmir.out
    known = ["--source", "10.0.0.5", "--disclosure", "identified"]
    assert regionmir("peers", "add", "PACS", "--host", "10.0.0.5", "--port", "104", *known) == 0
    assert regionmir("peers", "add", "VIEWER", "--results-to", "PACS") == 0
    assert "results to PACS: pseudonymous; it is not registered with --accepts-pseudonyms" in regionmir.out
    assert regionmir("peers", "add", "VIEWER", "--results-to", "PACS", *known) == 0
    assert "results to PACS: identified\n" in regionmir.out


def test_resolve_tells_nothing_without_the_right_and_keeps_a_trace(regionmir: Terminal, database: Database) -> None:
    assert regionmir("peers", "add", "VIEWER") == 0
    assert regionmir("resolve", "7K3M9QXA#1", "--acting-for", "VIEWER", "--reason", "curious") == 1
    assert "VIEWER has not the right `identify`" in regionmir.err
    assert regionmir("peers", "add", "READER", "--identify") == 0
    assert regionmir("resolve", "7K3M9QXA#1", "--acting-for", "READER", "--reason", "comparison") == 1
    assert "no such hit is kept" in regionmir.err
    with database.session() as session:
        found = audit.listing(session, kinds=["resolve", "resolve refused"])
    assert [(event.kind, event.actor) for event in found] == [("resolve", "READER"), ("resolve refused", "VIEWER")]


def test_an_identified_peer_needs_an_address_that_it_calls_from(regionmir: Terminal) -> None:
    assert regionmir("peers", "add", "ANYONE", "--disclosure", "identified") == 2
    assert "needs --source or --certificate: anyone can call under its AE title" in regionmir.err
    assert regionmir.json("peers", "list") == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["A_TITLE_THAT_IS_TOO_LONG"],
        ["BACK\\SLASH"],
        ["X", "--host", "10.0.0.5"],
        ["X", "--port", "104"],
        ["X", "--port", "0", "--host", "h"],
        ["X", "--source", "somewhere"],
        ["X", "--disclosure", "everything"],
        ["X", "--results-to", "A_TITLE_THAT_IS_TOO_LONG"],
    ],
)
def test_a_peer_that_makes_no_sense_is_refused(regionmir: Terminal, arguments: list[str]) -> None:
    assert regionmir("peers", "add", *arguments) == 2
    assert regionmir.json("peers", "list") == []


def test_a_network_may_be_the_source(regionmir: Terminal) -> None:
    assert regionmir("peers", "add", "WARD", "--source", "10.1.2.3/16") == 0
    assert regionmir.json("peers", "list")[0]["source_address"] == "10.1.0.0/16"


def test_a_peer_that_does_not_answer_is_one_line(regionmir: Terminal) -> None:
    assert regionmir("peers", "echo", "NOBODY") == 1
    assert "not registered" in regionmir.err
    regionmir("peers", "add", "AWAY", "--host", "127.0.0.1", "--port", "1")
    assert regionmir("peers", "echo", "AWAY") == 1
    assert len(regionmir.err.splitlines()) == 1
    assert regionmir("peers", "echo", "AWAY", "--json") == 1
    assert json.loads(regionmir.out)["ok"] is False
    assert regionmir("peers", "remove", "NOBODY") == 1


def test_doctor_is_content_with_a_running_database_and_broker(regionmir: Terminal) -> None:
    regionmir("doctor", "--no-model", "--json")
    levels = {one["subject"]: one["level"] for one in json.loads(regionmir.out)}
    assert (levels["PostgreSQL"], levels["pgvector"], levels["peers"]) == ("OK", "OK", "OK")
    assert levels["Redis"] in ("OK", "WARN")


def test_dead_letters_are_listed_counted_retried_and_dropped(regionmir: Terminal, database: Database) -> None:
    enqueue(database, make_results(database, 3), "PACS")
    with database.session() as session:
        for held in deliveries.claim(session, "test", AETitle("PACS"), limit=2, lease_s=60, max_senders=1):
            deliveries.finish_dead(session, "test", held, reason="0xA900")
    dead = regionmir.json("deliveries", "list", "--state", "dead")
    assert [(one["destination"], one["reason"], one["attempts"]) for one in dead] == [("PACS", "0xA900", 1)] * 2
    assert regionmir.json("status")["deliveries"] == {
        "waiting": 1, "sending": 0, "delivered": 0, "dead": 2, "dropped": 0,
    }  # fmt: skip
    assert regionmir.json("deliveries", "retry", str(dead[0]["pk"])) == {"retried": 1}
    assert regionmir.json("deliveries", "drop", "--to", "PACS") == {"dropped": 3}
    assert {one.state.value for one in outbox(database)} == {"dropped"}
    with database.session() as session:
        assert [event.kind for event in audit.listing(session)] == ["deliveries dropped", "deliveries retried"]
    assert regionmir("deliveries", "list") == 0
    assert "PACS" in regionmir.out


@pytest.mark.parametrize("arguments", [["retry"], ["drop", "1", "--all"], ["list", "--state", "lost"]])
def test_deliveries_want_to_be_told_which(regionmir: Terminal, arguments: list[str]) -> None:
    assert regionmir("deliveries", *arguments) == 2


def test_a_token_is_printed_once_listed_without_itself_and_revoked(regionmir: Terminal, database: Database) -> None:
    assert regionmir("tokens", "add", "research", "--scope", "query", "--disclosure", "identified", "--days", "3") == 0
    token = regionmir.out.strip()
    assert token.startswith("rgn_")
    assert "not shown again" in regionmir.err
    (listed,) = regionmir.json("tokens", "list")
    assert (listed["name"], listed["scopes"], listed["disclosure"]) == ("research", ["query"], "identified")
    assert regionmir("tokens", "list") == 0
    assert "good" in regionmir.out
    assert token not in regionmir.out
    assert regionmir("tokens", "add", "research") == 1
    assert "choose another name" in regionmir.err
    assert regionmir("tokens", "revoke", "research") == 0
    assert regionmir("tokens", "revoke", "research") == 1
    assert regionmir("tokens", "list") == 0
    assert "revoked" in regionmir.out
    with database.session() as session:
        events = audit.listing(session, kinds=["token added", "token revoked"])
        assert [event.kind for event in events] == ["token revoked", "token added"]
        assert not any(token in str(event.detail) for event in events)


@pytest.mark.parametrize("name", ["anonymous", "a name", "x" * 13])
def test_a_token_needs_a_name_that_logs_can_hold(regionmir: Terminal, name: str) -> None:
    assert regionmir("tokens", "add", name) == 2
    assert "1 to 12" in regionmir.err
