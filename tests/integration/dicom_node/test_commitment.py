"""Storage commitment, with a real Orthanc as SCU and as SCP, and a peer of our own."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.events import Event
from sqlalchemy import select

from db import commitments, instances, peers
from db.peers import Peer
from db.tables import StudyReleaseRow
from regionmir.core.identifiers import AETitle, Uid
from regionmir.core.records import Disclosure
from regionmir.scu.commitment import (
    PUSH_MODEL,
    CommitmentReport,
    CommitmentRequest,
    Reference,
    ask_on,
    commitment_context,
    new_transaction_uid,
    read_report,
)
from tests.conftest import absent
from tests.integration.dicom_node.conftest import NodeFactory, RunningNode
from tests.support.dicom import CR, EXPLICIT, associate, radiograph, store
from tests.support.orthanc import PROGRAM, running_orthanc
from tests.support.outbox import FilmBuilder, enqueue, make_results, outbox
from workers.commitment import CommitmentReporter
from workers.delivery import Deliverer


@contextmanager
def reports_taken() -> Iterator[tuple[int, list[CommitmentReport]]]:
    """Run a peer that takes N-EVENT-REPORT as SCU; give its port and what it got."""
    found: list[CommitmentReport] = []

    def take(event: Event) -> tuple[int, None]:
        found.append(read_report(event.event_information))
        return 0x0000, None

    ae = AE("SENDER")
    ae.add_supported_context(PUSH_MODEL, scu_role=True, scp_role=True)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, take)])
    assert server is not None
    try:
        yield int(server.server_address[1]), found
    finally:
        server.shutdown()


def ask(running: RunningNode, *references: Reference, calling: str = "SENDER") -> int:
    """Ask the node for storage commitment and return its status."""
    assoc = associate(running.port, {PUSH_MODEL: [EXPLICIT]}, calling=calling)
    assert assoc.is_established
    try:
        return ask_on(assoc, CommitmentRequest(new_transaction_uid(), references)).code
    finally:
        assoc.release()


def send(running: RunningNode, *datasets: Dataset, calling: str = "SENDER") -> list[Reference]:
    assoc = associate(running.port, calling=calling)
    assert [store(assoc, one).status for one in datasets] == [0] * len(datasets)
    assoc.release()
    return [Reference(Uid(one.SOPClassUID), Uid(one.SOPInstanceUID)) for one in datasets]


def reporter(running: RunningNode) -> CommitmentReporter:
    node = running.node
    return CommitmentReporter(node.database, node.store, AETitle(node.settings.ae_title))


def test_what_is_kept_is_committed_and_what_is_damaged_gone_or_of_others_is_not(running: RunningNode) -> None:
    with reports_taken() as (port, found):
        running.register("SENDER", host="127.0.0.1", port=port)
        running.register("OTHER")
        kept, damaged, missing, wrong = send(running, *(radiograph() for _ in range(4)))
        (foreign,) = send(running, radiograph(), calling="OTHER")
        unknown = Reference(Uid(CR), Uid("1.2.3.4"))
        other_class = Reference(Uid("1.2.840.10008.5.1.4.1.1.7"), wrong.sop_instance_uid)
        with running.node.database.session() as session:
            paths = [
                running.node.store.path(found_.storage_key)
                for uid in (damaged.sop_instance_uid, missing.sop_instance_uid)
                if (found_ := instances.detail(session, uid)) is not None
            ]
        paths[0].write_bytes(paths[0].read_bytes()[:-2] + b"xx")
        paths[1].unlink()

        assert ask(running, kept, damaged, missing, other_class, foreign, unknown) == 0x0000
        assert reporter(running).report_due() == 1
        assert reporter(running).report_due() == 0

    (report,) = found
    assert report.committed == (kept,)
    assert report.failed == {damaged: 0x0112, missing: 0x0112, other_class: 0x0119, foreign: 0x0112, unknown: 0x0112}


def test_an_identified_ae_may_have_what_others_sent_committed(running: RunningNode) -> None:
    with reports_taken() as (port, found):
        running.register("SENDER", host="127.0.0.1", port=port, disclosure=Disclosure.IDENTIFIED)
        running.register("OTHER")
        references = send(running, radiograph(), calling="OTHER")
        assert ask(running, *references) == 0x0000
        assert reporter(running).report_due() == 1
    assert found[0].committed == tuple(references)
    assert not found[0].failed


def test_an_ae_that_can_not_be_told_is_refused_and_an_empty_request_too(running: RunningNode) -> None:
    running.register("SENDER")
    references = send(running, radiograph())
    assert ask(running, *references) == 0x0124
    running.register("SENDER", host="127.0.0.1", port=1)
    assert ask(running) == 0x0115


def test_a_report_waits_until_its_asker_is_there(running: RunningNode) -> None:
    running.register("SENDER", host="127.0.0.1", port=1)
    references = send(running, radiograph())
    assert ask(running, *references) == 0x0000
    assert reporter(running).report_due() == 0
    with reports_taken() as (port, found):
        running.register("SENDER", host="127.0.0.1", port=port)
        with running.node.database.session() as session:
            commitments.later(session, 1, "", 0)
        assert reporter(running).report_due() == 1
        assert len(found) == 1
    assert build_role(PUSH_MODEL).sop_class_uid == commitment_context().abstract_syntax


@pytest.fixture
def orthanc_program() -> Path:
    if not PROGRAM.is_file():
        absent("Orthanc (apt-get install orthanc)")
    return PROGRAM


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_orthanc_gets_its_commitment_from_us(running: RunningNode, orthanc_program: Path, tmp_path: Path) -> None:
    film = radiograph(size=8)
    with running_orthanc(tmp_path / "orthanc", modalities={"regionmir": ("REGIONMIR", running.port)}) as orthanc:
        running.register("ORTHANC", host="127.0.0.1", port=orthanc.dicom_port)
        orthanc.upload(film)
        orthanc.http.post("/modalities/regionmir/store", content=str(orthanc.study_id(film.StudyInstanceUID)))
        asked = orthanc.http.post(
            "/modalities/regionmir/storage-commitment",
            json={"DicomInstances": [{"SOPClassUID": CR, "SOPInstanceUID": film.SOPInstanceUID}]},
        )
        assert reporter(running).report_due() == 1
        told = orthanc.http.get(f"/storage-commitment/{asked.json()['ID']}").json()
    assert told["Status"] == "Success"
    assert [one["SOPInstanceUID"] for one in told["Success"]] == [film.SOPInstanceUID]


def test_results_go_to_orthanc_and_it_commits_itself(
    start_node: NodeFactory, orthanc_program: Path, tmp_path: Path
) -> None:
    running = start_node()
    database = running.node.database
    results = make_results(database, 3)
    known = {"regionmir": ("REGIONMIR", running.port)}
    with running_orthanc(tmp_path / "orthanc", modalities=known) as orthanc:
        with database.session() as session:
            title = AETitle("ORTHANC")
            peers.upsert(
                session,
                Peer(title, host="127.0.0.1", port=orthanc.dicom_port, commits_storage=True, accepts_pseudonyms=True),
            )
        enqueue(database, results, "ORTHANC")
        deliverer = Deliverer(database, AETitle("REGIONMIR"), {"film": FilmBuilder()})
        assert sum(future.result(60) for future in deliverer.drain()) == 3
        wait_for(lambda: {one.commitment for one in outbox(database)} == {"committed"})
        deliverer.close()
        assert orthanc.study_uids() == {"1.2.3"}
    assert {one.state.value for one in outbox(database)} == {"delivered"}


def test_the_release_of_an_association_is_noted_for_peers_that_send_whole_studies(running: RunningNode) -> None:
    running.register("WHOLE", complete_on_release=True)
    running.register("SINGLE")
    whole, single = radiograph(), radiograph()
    send(running, whole, calling="WHOLE")
    send(running, single, calling="SINGLE")

    def noted() -> list[str]:
        with running.node.database.session() as session:
            return list(session.scalars(select(StudyReleaseRow.study_instance_uid)))

    wait_for(lambda: noted() == [whole.StudyInstanceUID])
