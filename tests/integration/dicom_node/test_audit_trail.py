"""What the node writes into the audit trail, and that it says nothing that it could not write down first."""

import base64
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from pydicom import dcmread
from sqlalchemy import text

from db import audit, audit_chain
from db.audit import AuditEvent
from db.engine import Database
from dicom_node import audit_trail
from dicom_node.audit_trail import REPEATED_AFTER_S, Refusals
from regionmir.core.records import Disclosure
from regionmir.scu.get import get
from regionmir.scu.store import Result
from tests.integration.dicom_node.conftest import NodeFactory
from tests.support.audit_schema import broken_rules, faults
from tests.support.dicom import associate
from tests.support.films import write_film
from tests.support.find import find, keys
from tests.support.running_node import RunningNode, running_node

KNOWN, STRANGER = "KNOWN", "STRANGER"


@pytest.fixture
def node(database: Database, tmp_path: Path) -> Iterator[RunningNode]:
    with running_node(database, tmp_path / "node") as running:
        running.register(KNOWN)
        yield running


@pytest.fixture
def film(node: RunningNode, tmp_path: Path) -> Path:
    """Return a film that the node has received."""
    path = write_film(tmp_path / "film.dcm", 1)
    assert [one.result for one in node.receive(path)] == [Result.STORED]
    return path


def events(node: RunningNode, *kinds: str, count: int = 1) -> list[AuditEvent]:
    """Return the events of these kinds, oldest first, once there are `count` of them."""
    deadline = time.monotonic() + 30
    while True:
        with node.node.database.session() as session:
            found = audit.listing(session, kinds=kinds)[::-1]
        if len(found) >= count or time.monotonic() > deadline:
            assert len(found) == count, [event.kind for event in found]
            assert [fault for event in found for fault in faults(event.message) + broken_rules(event.message)] == []
            return found
        time.sleep(0.05)


def get_study(node: RunningNode, path: Path) -> tuple[int, list[str]]:
    """Ask by C-GET for the study of a film; return the final status and what came."""
    came: list[str] = []

    def take(uid: str, content: bytes) -> int:
        came.append(uid)
        return 0x0000

    wanted = keys("STUDY", StudyInstanceUID=dcmread(path).StudyInstanceUID)
    return get(node.peer, KNOWN, wanted, take).status.code, came


def forbid(node: RunningNode, kind: str) -> None:
    """Make the database refuse this kind of event."""
    with node.node.database.session() as session:
        session.execute(text(f"ALTER TABLE audit_event ADD CONSTRAINT forbidden CHECK (kind <> '{kind}') NOT VALID"))


def test_what_was_received_is_recorded_when_the_association_ends(node: RunningNode, film: Path) -> None:
    (event,) = events(node, "instances transferred")
    instance = dcmread(film)
    assert (event.actor, event.address) == ("SENDER", "127.0.0.1")
    message = ElementTree.fromstring(event.message)
    assert message.find("EventIdentification").get("EventActionCode") == "C"  # type: ignore[union-attr]
    objects = [one.get("ParticipantObjectID") for one in message.findall("ParticipantObjectIdentification")]
    assert objects == [instance.StudyInstanceUID, instance.PatientID]
    assert message.find(".//SOPClass").get("NumberOfInstances") == "1"  # type: ignore[union-attr]
    node.receive(film)
    again = events(node, "instances transferred", count=2)[1]
    assert 'EventActionCode="R"' in again.message


def test_an_identified_query_is_recorded_with_its_keys_and_a_pseudonymous_one_is_not(
    node: RunningNode, film: Path
) -> None:
    assert find(node.peer.port, "STUDY", calling=STRANGER, PatientID="4711").status == 0x0000
    assert len(find(node.peer.port, "STUDY", calling=KNOWN, PatientID="", StudyInstanceUID="").rows) == 1
    (event,) = events(node, "query")
    assert event.actor == KNOWN
    query = ElementTree.fromstring(event.message).findtext(".//ParticipantObjectQuery", "")
    assert b"STUDY" in base64.b64decode(query)


def test_a_query_that_cannot_be_recorded_is_not_answered(node: RunningNode, film: Path) -> None:
    forbid(node, "query")
    answer = find(node.peer.port, "STUDY", calling=KNOWN, PatientID="", StudyInstanceUID="")
    assert answer.rows == []
    assert answer.status == 0x0110


def test_a_query_whose_place_in_the_chain_cannot_be_written_is_not_answered(node: RunningNode, film: Path) -> None:
    with node.node.database.session() as session:
        session.execute(text("ALTER TABLE audit_chain ADD CONSTRAINT full_ CHECK (position < 0) NOT VALID"))
    answer = find(node.peer.port, "STUDY", calling=KNOWN, PatientID="", StudyInstanceUID="")
    assert (answer.rows, answer.status) == ([], 0x0110)


def test_a_retrieve_is_recorded_before_and_after(node: RunningNode, film: Path) -> None:
    status, came = get_study(node, film)
    assert (status, len(came)) == (0x0000, 1)
    (before,) = events(node, "transfer begins")
    _, after = events(node, "instances transferred", count=2)
    assert before.at <= after.at
    assert before.detail == {"from": "REGIONMIR", "to": KNOWN, "instances": 1}
    assert dcmread(film).PatientID in before.message
    with node.node.database.session() as session:
        assert audit_chain.verify(audit_chain.links(session)).fault == ""


def test_a_retrieve_that_cannot_be_recorded_sends_nothing(node: RunningNode, film: Path) -> None:
    forbid(node, "transfer begins")
    status, came = get_study(node, film)
    assert status == 0x0110
    assert came == []


def test_strangers_are_recorded_once_in_a_while(start_node: NodeFactory) -> None:
    running = start_node(dicom_host="0.0.0.0")
    for _ in range(3):
        assert associate(running.port, calling="NOBODY").is_rejected
    with running.node.database.session() as session:
        (event,) = audit.listing(session, kinds=["node refused"])
    assert (event.actor, event.address) == ("NOBODY", "127.0.0.1")
    assert 'csd-code="110126"' in event.message


def test_a_refusal_is_new_again_after_a_while() -> None:
    now = [0.0]
    refusals = Refusals(clock=lambda: now[0])
    assert refusals.is_new("10.0.0.1", "why")
    assert not refusals.is_new("10.0.0.1", "why")
    assert refusals.is_new("10.0.0.1", "another reason")
    now[0] = REPEATED_AFTER_S
    assert refusals.is_new("10.0.0.1", "why")


def test_start_and_stop_are_recorded(node: RunningNode) -> None:
    audit_trail.activity(node.node, started=True)
    audit_trail.activity(node.node, started=False)
    first, second = events(node, "node started", "node stopped", count=2)
    assert (first.kind, second.kind) == ("node started", "node stopped")


@pytest.mark.parametrize(("right", "way"), [("can_get", "C-GET"), ("can_move", "C-MOVE")])
def test_single_verbs_may_be_taken_from_a_peer(start_node: NodeFactory, right: str, way: str) -> None:
    from regionmir.scu.move import move
    from regionmir.scu.peer import PeerAddress

    running = start_node()
    running.register(KNOWN, disclosure=Disclosure.IDENTIFIED, host="127.0.0.1", port=1, **{right: False})
    peer = PeerAddress("REGIONMIR", "127.0.0.1", running.port)  # type: ignore[arg-type]
    wanted = keys("STUDY", StudyInstanceUID="1.2.3")
    asked = get(peer, KNOWN, wanted, lambda *_: 0) if way == "C-GET" else move(peer, KNOWN, wanted, KNOWN)  # type: ignore[arg-type]
    assert asked.status.code == 0x0124
    other = move(peer, KNOWN, wanted, KNOWN) if way == "C-GET" else get(peer, KNOWN, wanted, lambda *_: 0)  # type: ignore[arg-type]
    assert other.status.code == 0x0000
