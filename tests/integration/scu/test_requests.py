"""Our other requests: C-ECHO, C-FIND, C-GET and C-MOVE against dcmtk and a node."""

from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from db.engine import Database
from regionmir.core.errors import PeerRefused, PeerUnavailable
from regionmir.core.identifiers import AETitle
from regionmir.scu.association import association
from regionmir.scu.echo import echo
from regionmir.scu.find import find
from regionmir.scu.get import get, save_into
from regionmir.scu.move import move
from regionmir.scu.pausing import Pause
from regionmir.scu.peer import PeerAddress
from regionmir.scu.status import SubOperations, read_status
from tests.support.films import write_films
from tests.support.peers import AE_TITLE, receiver, storescp
from tests.support.ports import free_port
from tests.support.running_node import running_node


def studies(**keys: str) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY"
    for keyword in ("StudyInstanceUID", "PatientID"):
        setattr(identifier, keyword, keys.get(keyword))
    return identifier


def test_an_echo_is_timed(dcmtk: Path, tmp_path: Path) -> None:
    with storescp(dcmtk, tmp_path) as peer:
        answer = echo(peer, "SENDER")

    assert answer.status.is_success
    assert 0 < answer.round_trip_s < answer.total_s < 5


def test_an_echo_does_not_wait_for_nagle(dcmtk: Path, tmp_path: Path) -> None:
    with storescp(dcmtk, tmp_path) as peer:
        fastest = min(echo(peer, "SENDER").round_trip_s for _ in range(5))

    assert fastest < 0.03


def test_requests_in_a_row_pause_the_reactor_for_certain(dcmtk: Path, tmp_path: Path) -> None:
    """So that no answer is taken from the request that waits for it: see `tests/unit/scu/test_pausing.py`."""
    with storescp(dcmtk, tmp_path) as peer, association(peer, "SENDER", [build_context(Verification)]) as opened:
        answers = [read_status(opened.send_c_echo()) for _ in range(20)]
        assert isinstance(opened._reactor_checkpoint, Pause)

    assert all(answer is not None and answer.is_success for answer in answers)


def test_a_peer_that_is_not_there_is_transient() -> None:
    with pytest.raises(PeerUnavailable):
        echo(PeerAddress(AETitle("NOBODY"), "127.0.0.1", free_port()), "SENDER")


def test_a_peer_that_rejects_for_good_is_refusing(dcmtk: Path, tmp_path: Path) -> None:
    with storescp(dcmtk, tmp_path, "--refuse") as peer, pytest.raises(PeerRefused, match="rejects"):
        echo(peer, "SENDER")


def test_what_was_sent_is_found_and_fetched(database: Database, tmp_path: Path) -> None:
    films = write_films(tmp_path / "films", 3)
    (tmp_path / "got").mkdir()
    with running_node(database, tmp_path / "node") as node:
        node.register("CALLER")
        node.receive(*films)

        found = find(node.peer, "CALLER", studies())
        progress: list[SubOperations] = []
        uids = sorted(str(match.StudyInstanceUID) for match in found.matches)
        wanted = studies()
        wanted.StudyInstanceUID = uids
        answer = get(node.peer, "CALLER", wanted, save_into(tmp_path / "got"), progress=progress.append)

    assert found.status.is_success
    assert uids == sorted(str(dcmread(film).StudyInstanceUID) for film in films)
    assert answer.status.is_success
    assert answer.sub_operations.completed == 3
    assert [counts.remaining for counts in progress] == [2, 1]
    got = {path.stem: dcmread(path) for path in (tmp_path / "got").iterdir()}
    assert set(got) == {str(dcmread(film).SOPInstanceUID) for film in films}


def test_a_find_stops_at_its_limit(database: Database, tmp_path: Path) -> None:
    with running_node(database, tmp_path / "node") as node:
        node.register("CALLER")
        node.receive(*write_films(tmp_path / "films", 5))

        found = find(node.peer, "CALLER", studies(), limit=2)

    assert len(found.matches) == 2
    assert found.status.is_cancel or found.status.is_success


def test_a_move_reports_its_progress(database: Database, tmp_path: Path) -> None:
    films = write_films(tmp_path / "films", 2, PatientID="ONE", StudyInstanceUID="1.2.3.4")
    progress: list[SubOperations] = []
    with running_node(database, tmp_path / "node") as node, receiver() as destination:
        node.register("CALLER")
        node.register(AE_TITLE, port=destination.port)
        node.receive(*films)

        answer = move(node.peer, "CALLER", studies(StudyInstanceUID="1.2.3.4"), AE_TITLE, progress=progress.append)

    assert answer.status.is_success
    assert [counts.remaining for counts in progress] == [1]
    assert set(destination.by_uid()) == {str(dcmread(film).SOPInstanceUID) for film in films}


def test_a_receiver_writes_no_file_under_a_name_that_is_no_uid(tmp_path: Path) -> None:
    assert save_into(tmp_path)("../evil", b"") == 0xC000
    assert list(tmp_path.iterdir()) == []
