"""Opening, keeping and ending associations: who is let in, which contexts are taken, how faulty peers end."""

import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, build_role
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    CTImageStorage,
    ModalityWorklistInformationFind,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    Verification,
)

from dicom_node.contexts import STORAGE_SYNTAXES
from regionmir.core.anatomy import anatomies
from tests.support.dicom import CR, EXPLICIT, IMPLICIT, as_file, associate, radiograph, store

JPEG_LS = "1.2.840.10008.1.2.4.80"


def echo(port: int, *, calling: str = "TESTSCU", called: str = "REGIONMIR") -> int:
    assoc = associate(port, {Verification: [IMPLICIT]}, calling=calling, called=called)
    assert assoc.is_established
    status = assoc.send_c_echo().Status
    assoc.release()
    return int(status)


def test_our_title_and_those_of_the_regions_answer(running) -> None:
    for called in ("REGIONMIR", "RGN_ALL", *(anatomy.ae_title for anatomy in anatomies())):
        assert echo(running.port, called=called) == 0x0000


def test_another_called_title_is_rejected_with_its_reason(running) -> None:
    for called in ("ANY-SCP", "RGN_XXX", "regionmir", "RGN_"):
        assert rejection(associate(running.port, called=called)) == (1, 1, 7)


def test_a_stranger_is_let_in_on_loopback_as_pseudonymous(running) -> None:
    assert echo(running.port, calling="NOBODY") == 0x0000


def test_beyond_loopback_only_registered_titles_from_their_address_are_let_in(start_node) -> None:
    running = start_node(dicom_host="0.0.0.0")
    assert rejection(associate(running.port)) == (1, 1, 3)
    running.register("TESTSCU", source_address="10.0.0.0/8")
    assert rejection(associate(running.port)) == (1, 1, 3)
    running.register("TESTSCU", source_address="127.0.0.1")
    assert echo(running.port) == 0x0000


def test_a_peer_without_the_right_to_echo_is_told_so(running) -> None:
    running.register("MUTE", can_echo=False)
    assert echo(running.port, calling="MUTE") == 0x0124


def test_associations_over_the_limit_are_rejected_for_now(start_node) -> None:
    running = start_node(max_associations=2)
    held = [associate(running.port), associate(running.port)]
    assert rejection(associate(running.port)) == (2, 3, 2)
    held.pop().release()
    wait_until_accepted(running.port).release()
    held.pop().release()


def test_port_probes_hold_no_slot(start_node) -> None:
    running = start_node(max_associations=2)
    for _ in range(20):
        socket.create_connection(("127.0.0.1", running.port)).close()
    wait_until_accepted(running.port).release()


def test_a_silent_connection_is_closed_after_the_acse_timeout(start_node) -> None:
    running = start_node(acse_timeout_s=0.5)
    with socket.create_connection(("127.0.0.1", running.port)) as probe:
        probe.settimeout(10)
        assert probe.recv(1) == b""


def test_a_peer_that_stalls_inside_a_pdu_is_cut_off(start_node) -> None:
    running = start_node(network_timeout_s=0.5, max_associations=1)
    assoc = associate(running.port)
    assoc.dul.socket.socket.send(b"\x04\x00" + struct.pack(">L", 5000) + b"only a part")
    wait_until_accepted(running.port).release()


def test_an_idle_association_is_ended(start_node) -> None:
    running = start_node(network_timeout_s=0.3, max_associations=1)
    associate(running.port)
    wait_until_accepted(running.port).release()


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\x01\x00\xff\xff\xff\xff", b"\x04\x00\x00\x00\x00\x00"]
)
def test_what_is_no_dicom_is_cut_off_and_harms_nobody(running, garbage: bytes) -> None:
    assoc = associate(running.port)
    with socket.create_connection(("127.0.0.1", running.port)) as probe:
        probe.settimeout(10)
        probe.send(garbage)
        while probe.recv(4096):
            pass
    assert store(assoc, radiograph()).status == 0x0000
    assoc.release()


def test_a_garbled_command_ends_its_association_only(running) -> None:
    from tests.support.dicom import _send

    broken, sound = associate(running.port), associate(running.port)
    _send(broken, b"\x03" + b"\xff" * 50)
    deadline = time.monotonic() + 10
    while broken.is_established and time.monotonic() < deadline:
        time.sleep(0.01)
    assert broken.is_aborted
    assert store(sound, radiograph()).status == 0x0000
    sound.release()


def test_of_several_syntaxes_ours_is_taken_and_implicit_last(running) -> None:
    offers = {
        CR: [IMPLICIT, JPEG_LS, EXPLICIT],
        CTImageStorage: [IMPLICIT, "1.2.840.10008.1.2.4.50", JPEG_LS],
        "1.2.3.4": [IMPLICIT],
    }
    assoc = associate(running.port, offers)
    taken = {str(context.abstract_syntax): context.transfer_syntax[0] for context in assoc.accepted_contexts}
    assoc.release()
    assert taken == {CR: EXPLICIT, CTImageStorage: JPEG_LS, "1.2.3.4": IMPLICIT}
    assert STORAGE_SYNTAXES[-1] == IMPLICIT


def test_services_that_we_have_not_are_refused_by_context(running) -> None:
    assoc = associate(running.port, {ModalityWorklistInformationFind: [EXPLICIT], CR: [EXPLICIT]})
    assert [(c.abstract_syntax, c.result) for c in assoc.rejected_contexts] == [(ModalityWorklistInformationFind, 3)]
    assoc.release()


def test_a_retriever_may_take_the_scp_role_of_storage(running) -> None:
    ae = AE("TESTSCU")
    contexts = [build_context(StudyRootQueryRetrieveInformationModelGet, EXPLICIT), build_context(CR, EXPLICIT)]
    assoc = ae.associate(
        "127.0.0.1", running.port, contexts=contexts, ae_title="REGIONMIR", ext_neg=[build_role(CR, scp_role=True)]
    )
    assert [c.as_scp for c in assoc.accepted_contexts if c.abstract_syntax == CR] == [True]
    assoc.release()


def test_small_answers_are_not_held_back(running) -> None:
    assoc = associate(running.port, {Verification: [EXPLICIT]})
    took = []
    for _ in range(40):
        started = time.monotonic()
        assoc.send_c_echo()
        took.append(time.monotonic() - started)
    assert sorted(took)[10] < 0.03  # 40 ms each under Nagle's algorithm; the quick quarter, as machines are busy
    assoc.release()


def test_stopping_lets_a_transfer_finish(start_node) -> None:
    running = start_node()
    assoc = associate(running.port)
    from threading import Thread

    stopping = Thread(target=running.server.stop, kwargs={"drain_s": 10.0})
    stopping.start()
    time.sleep(0.3)
    assert store(assoc, radiograph()).status == 0x0000
    assoc.release()
    stopping.join(5)
    assert not stopping.is_alive()
    assert not associate(running.port).is_established


def test_dcmtk_echoes_and_sends(running, dcmtk: Path, tmp_path: Path) -> None:
    paths = []
    for number in range(5):
        paths.append(tmp_path / f"{number}.dcm")
        paths[-1].write_bytes(as_file(radiograph(size=200)))
    tool(dcmtk / "echoscu", "-aec", "RGN_LLLZ", "127.0.0.1", str(running.port))
    tool(dcmtk / "storescu", "-aec", "REGIONMIR", "127.0.0.1", str(running.port), *map(str, paths))
    assert len(running.instances()) == 5
    assert {row.source_ae for row in running.instances()} == {"STORESCU"}


@pytest.mark.parametrize("syntax", ["-xi", "-xe", "-xb", "-xd"])
def test_dcmtk_sends_in_each_uncompressed_syntax_what_pydicom_reads_back(
    running, dcmtk: Path, tmp_path: Path, syntax: str
) -> None:
    import pydicom

    dataset = radiograph(PatientName="검사^환자")
    path = tmp_path / "film.dcm"
    path.write_bytes(as_file(dataset))
    tool(dcmtk / "storescu", syntax, "-aec", "REGIONMIR", "127.0.0.1", str(running.port), str(path))
    with running.node.database.session() as session:
        from db import instances

        detail = instances.detail(session, dataset.SOPInstanceUID)
    with running.node.store.open(detail.storage_key) as file:
        read = pydicom.dcmread(file)
        assert read.PatientName == "검사^환자"
        assert read.file_meta.TransferSyntaxUID == detail.transfer_syntax_uid


def test_a_find_without_identifier_is_answered_and_the_association_lives(running) -> None:
    assoc = associate(running.port, {StudyRootQueryRetrieveInformationModelFind: [EXPLICIT], CR: [EXPLICIT]})
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "NONSENSE"
    answers = list(assoc.send_c_find(identifier, StudyRootQueryRetrieveInformationModelFind))
    assert answers[-1][0].Status >= 0xA000
    assert assoc.is_established
    assoc.release()


def rejection(assoc) -> tuple[int, int, int]:
    assert assoc.is_rejected
    primitive = assoc.acceptor.primitive
    return primitive.result, primitive.result_source, primitive.diagnostic


def wait_until_accepted(port: int, deadline_s: float = 10.0):
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        assoc = associate(port)
        if assoc.is_established:
            return assoc
        time.sleep(0.05)
    pytest.fail("no association was accepted in time")


def tool(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_an_event_that_the_state_machine_does_not_know_frees_the_slot_at_once(start_node) -> None:
    """An abort of the peer that crossed our acceptance left thread, socket and slot until the idle timeout."""
    running = start_node(network_timeout_s=120.0)
    assoc = associate(running.port)
    assert assoc.is_established
    (ours,) = running.server._active()
    ours.dul.event_queue.put("Evt7")
    running.server._wait_until_idle(20.0)
    assert running.server._active() == []
    assoc.join(20)
