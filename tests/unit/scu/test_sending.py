"""What a C-STORE needs to know of a file, and how instances share associations."""

from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from regionmir.core.identifiers import Uid
from regionmir.scu.sending import NotSendable, Outgoing, grouped, message_ids, read_outgoing, sending_contexts
from tests.support.films import save, synthetic_film, write_film

CT = "1.2.840.10008.5.1.4.1.1.2"


def _instance(number: int, sop_class: str = CT, syntax: str = ExplicitVRLittleEndian) -> Outgoing:
    return Outgoing(Path(f"{number}.dcm"), Uid(sop_class), Uid(f"1.2.{number}"), Uid(str(syntax)))


def test_a_part_10_file_is_sent_as_its_bytes_are(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.dcm", 1)

    outgoing = read_outgoing(path)

    film = dcmread(path)
    assert outgoing.exact
    assert outgoing.sop_class_uid == film.SOPClassUID
    assert outgoing.sop_instance_uid == film.SOPInstanceUID
    assert outgoing.transfer_syntax_uid == str(film.file_meta.TransferSyntaxUID)


def test_a_data_set_without_preamble_and_meta_group_is_sendable() -> None:
    path = get_testdata_file("ExplVR_LitEndNoMeta.dcm", download=False)

    outgoing = read_outgoing(Path(str(path)))

    assert not outgoing.exact
    assert outgoing.transfer_syntax_uid == str(ExplicitVRLittleEndian)


def test_a_meta_group_that_names_another_instance_is_not_trusted(tmp_path: Path) -> None:
    film = synthetic_film(1)
    film.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    path = tmp_path / "film.dcm"
    film.save_as(path)

    outgoing = read_outgoing(path)

    assert outgoing.sop_instance_uid == film.SOPInstanceUID
    assert not outgoing.exact


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(300), bytes(128) + b"DICM"])
def test_a_file_that_is_no_dicom_is_named_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)

    with pytest.raises(NotSendable, match="not a DICOM instance"):
        read_outgoing(path)


def test_a_dicomdir_is_no_instance() -> None:
    path = get_testdata_file("DICOMDIR", download=False)

    with pytest.raises(NotSendable):
        read_outgoing(Path(str(path)))


def test_a_file_without_sop_instance_uid_is_not_sendable(tmp_path: Path) -> None:
    path = save(synthetic_film(1, SOPInstanceUID=None), tmp_path / "film.dcm")

    with pytest.raises(NotSendable):
        read_outgoing(path)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(NotSendable, match="cannot be read"):
        read_outgoing(tmp_path / "gone.dcm")


def test_each_stored_syntax_has_a_context_of_its_own() -> None:
    instances = [_instance(1), _instance(2), _instance(3, syntax=ImplicitVRLittleEndian)]

    contexts = sending_contexts(instances, fallback=False)

    assert [list(context.transfer_syntax) for context in contexts] == [
        [ExplicitVRLittleEndian],
        [ImplicitVRLittleEndian],
    ]


def test_a_fallback_offers_uncompressed_syntaxes_beside_the_stored_one() -> None:
    contexts = sending_contexts([_instance(1, syntax="1.2.840.10008.1.2.4.90")], fallback=True)

    assert [list(context.transfer_syntax) for context in contexts] == [
        ["1.2.840.10008.1.2.4.90"],
        [ExplicitVRLittleEndian, ImplicitVRLittleEndian],
    ]


def test_instances_of_300_sop_classes_need_three_associations() -> None:
    instances = [_instance(n, sop_class=f"1.2.3.{n}") for n in range(300)]

    groups = list(grouped(instances, fallback=False))

    assert [len(group) for group in groups] == [128, 128, 44]
    assert [one for group in groups for one in group] == instances


def test_a_fallback_halves_what_fits_one_association() -> None:
    instances = [_instance(n, sop_class=f"1.2.3.{n}") for n in range(100)]

    assert [len(group) for group in grouped(instances, fallback=True)] == [64, 36]


def test_message_identifiers_begin_again_after_the_largest() -> None:
    assert list(message_ids(4, first=65534)) == [65534, 65535, 1, 2]
