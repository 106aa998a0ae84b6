"""Sending files to peers: every byte, every file accounted for, whatever the peer does."""

import shutil
from collections import Counter
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pynetdicom.events import Event

from regionmir.core.errors import PeerRefused, PeerUnavailable
from regionmir.core.identifiers import AETitle
from regionmir.scu.peer import PeerAddress, Timeouts
from regionmir.scu.store import Result, SentFile, store
from tests.support.films import save, synthetic_film, write_films
from tests.support.peers import dataset_bytes, receiver, storescp
from tests.support.ports import free_port

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"

BUNDLED = (
    "JPEG2000.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "JPGExtended.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "image_dfl.dcm",
    "CT_small.dcm",
)
"""pydicom's own test files, one per transfer syntax."""


def bundled(name: str) -> Path:
    return Path(str(get_testdata_file(name, download=False)))


def sent(paths: list[Path], peer: PeerAddress) -> list[SentFile]:
    return list(store(peer, "SENDER", paths, timeouts=Timeouts(acse_s=5, dimse_s=5, network_s=5)))


def test_the_receiver_gets_exactly_the_stored_bytes_in_every_syntax() -> None:
    paths = [bundled(name) for name in BUNDLED]
    syntaxes = sorted({str(dcmread(path).file_meta.TransferSyntaxUID) for path in paths})

    with receiver(syntaxes=syntaxes) as peer:
        outcomes = sent(paths, peer.peer)

    assert [outcome.result for outcome in outcomes] == [Result.STORED] * len(paths), outcomes
    assert peer.associations == 1
    for path, one in zip(paths, peer.received, strict=True):
        assert one.transfer_syntax_uid == dcmread(path).file_meta.TransferSyntaxUID
        assert one.dataset == dataset_bytes(path.read_bytes()), path.name


def test_dcmtk_gets_exactly_the_stored_bytes(dcmtk: Path, shared_dir: Path, tmp_path: Path) -> None:
    paths = [path for path in sorted((shared_dir / "data" / "dicom").rglob("*")) if path.name != "README.md"]
    paths = [path for path in paths if path.is_file()]

    with storescp(dcmtk, tmp_path, "+xa", "--unique-filenames") as peer:
        outcomes = sent(paths, peer)

    assert Counter(outcome.result for outcome in outcomes) == {Result.STORED: len(paths)}, outcomes
    written = {dataset_bytes(path.read_bytes()) for path in tmp_path.iterdir()}
    assert written == {dataset_bytes(path.read_bytes()) for path in paths}


def test_files_that_are_no_dicom_are_reported_and_the_others_sent(tmp_path: Path) -> None:
    films = write_films(tmp_path, 2)
    text = tmp_path / "notes.txt"
    text.write_text("no DICOM")

    with receiver() as peer:
        outcomes = sent([films[0], text, films[1]], peer.peer)

    assert {outcome.path: outcome.result for outcome in outcomes} == {
        films[0]: Result.STORED,
        text: Result.NOT_DICOM,
        films[1]: Result.STORED,
    }


def test_a_refused_file_carries_the_peers_status_and_harms_no_other(tmp_path: Path) -> None:
    films = write_films(tmp_path, 3)
    refused = dcmread(films[1]).SOPInstanceUID

    def status(event: Event, number: int) -> int:
        return 0xC000 if event.request.AffectedSOPInstanceUID == refused else 0x0000  # type: ignore[union-attr]

    with receiver(status=status) as peer:
        outcomes = sent(films, peer.peer)

    assert [outcome.result for outcome in outcomes] == [Result.STORED, Result.REFUSED, Result.STORED]
    assert outcomes[1].status is not None
    assert outcomes[1].status.code == 0xC000


def test_a_syntax_that_the_peer_does_not_take_is_refused_without_converting(tmp_path: Path) -> None:
    films = [*write_films(tmp_path, 1), bundled("JPEG2000.dcm")]

    with receiver() as peer:
        outcomes = sent(films, peer.peer)

    assert [outcome.result for outcome in outcomes] == [Result.STORED, Result.REFUSED]
    assert "1.2.840.10008.1.2.4.91" in outcomes[1].detail


def test_a_peer_that_takes_nothing_of_ours_refuses_each_file(tmp_path: Path) -> None:
    with receiver(syntaxes=["1.2.840.10008.1.2.4.50"]) as peer:
        outcomes = sent(write_films(tmp_path, 2), peer.peer)

    assert [outcome.result for outcome in outcomes] == [Result.REFUSED, Result.REFUSED]


def test_more_than_128_contexts_go_over_several_associations(tmp_path: Path) -> None:
    sop_classes = [f"1.2.840.10008.5.1.4.1.1.{n}.999" for n in range(200)]
    paths = []
    for number, sop_class in enumerate(sop_classes):
        film = synthetic_film(number, rows=8, columns=8, SOPClassUID=sop_class)
        paths.append(save(film, tmp_path / f"{number}.dcm"))

    with receiver(sop_classes=sop_classes) as peer:
        outcomes = sent(paths, peer.peer)

    assert Counter(outcome.result for outcome in outcomes) == {Result.STORED: 200}, outcomes[:3]
    assert peer.associations == 2
    assert len(peer.by_uid()) == 200


def test_when_the_peer_aborts_the_rest_goes_over_a_new_association(tmp_path: Path) -> None:
    films = write_films(tmp_path, 5)
    aborted: list[int] = []

    def status(event: Event, number: int) -> int:
        if number == 3 and not aborted:
            aborted.append(number)
            event.assoc.abort()
        return 0x0000

    with receiver(status=status) as peer:
        outcomes = sent(films, peer.peer)

    assert [outcome.result for outcome in outcomes] == [Result.STORED] * 5
    assert peer.associations == 2
    assert set(peer.by_uid()) == {dcmread(path).SOPInstanceUID for path in films}


def test_a_file_that_makes_the_peer_abort_twice_fails_alone(tmp_path: Path) -> None:
    films = write_films(tmp_path, 4)
    poison = dcmread(films[1]).SOPInstanceUID

    def status(event: Event, number: int) -> int:
        if event.request.AffectedSOPInstanceUID == poison:  # type: ignore[union-attr]
            event.assoc.abort()
            return 0xC000
        return 0x0000

    with receiver(status=status) as peer:
        outcomes = sent(films, peer.peer)

    assert [outcome.result for outcome in outcomes] == [Result.STORED, Result.FAILED, Result.STORED, Result.STORED]


def test_a_peer_that_aborts_every_time_is_given_up(tmp_path: Path) -> None:
    films = write_films(tmp_path, 6)

    def status(event: Event, number: int) -> int:
        event.assoc.abort()
        return 0xC000

    with receiver(status=status) as peer, pytest.raises(PeerUnavailable, match="ends every association"):
        sent(films, peer.peer)

    assert peer.associations == 6  # two for each of three films


def test_a_peer_that_is_not_there_is_transient(tmp_path: Path) -> None:
    nobody = PeerAddress(AETitle("NOBODY"), "127.0.0.1", free_port())

    with pytest.raises(PeerUnavailable):
        sent(write_films(tmp_path, 1), nobody)


def test_an_unknown_host_name_is_transient(tmp_path: Path) -> None:
    nobody = PeerAddress(AETitle("NOBODY"), "no-such-host.invalid", 104)

    with pytest.raises(PeerUnavailable):
        sent(write_films(tmp_path, 1), nobody)


def test_a_peer_that_does_not_know_us_is_no_reason_to_try_again(tmp_path: Path, dcmtk: Path) -> None:
    with storescp(dcmtk, tmp_path, "--refuse") as peer, pytest.raises(PeerRefused):
        sent(write_films(tmp_path, 1), peer)


def test_a_file_without_meta_group_arrives_with_its_elements(tmp_path: Path) -> None:
    path = shutil.copy(bundled("ExplVR_LitEndNoMeta.dcm"), tmp_path / "bare.dcm")

    with receiver() as peer:
        outcomes = sent([Path(path)], peer.peer)

    assert [outcome.result for outcome in outcomes] == [Result.STORED]
    assert peer.received[0].transfer_syntax_uid == EXPLICIT
