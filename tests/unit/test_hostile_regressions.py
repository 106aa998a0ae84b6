"""What bad input once did, made again byte by byte: each hung, crashed or filled the memory of a process."""

import resource
import struct
import time
import zlib
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from dicom_node.retrieve_identifier import read_wanted
from regionmir.archive.correction import corrected
from regionmir.core.errors import BrokenImage, InvalidHeader, InvalidIdentifier
from regionmir.core.header import read_header
from regionmir.core.identifiers import Uid
from regionmir.core.records import CopyIdentity, PatientValues
from regionmir.deid.copies import pseudonymous_copy
from regionmir.deid.identity import Substitution
from regionmir.pixels import guarded
from regionmir.pixels.transcode import transcode
from regionmir.storage.scan import scan_dataset
from tests.hostile.bombs import deflated, part10
from tests.support.annotations import rejection_note
from tests.support.dicom import EXPLICIT, encoded, radiograph
from tests.support.films import synthetic_film

SOON_S = 20.0
BROKEN_LEAF = struct.pack("<HH2sH", 0x0028, 0x0010, b"US", 3) + b"abc"


def nested(levels: int, tag: tuple[int, int]) -> bytes:
    """Return an element with a broken value in so many sequences of its own tag."""
    value = BROKEN_LEAF
    for _ in range(levels):
        item = struct.pack("<HHL", 0xFFFE, 0xE000, len(value)) + value
        value = struct.pack("<HH2sHL", *tag, b"SQ", 0, len(item)) + item
    return value


def with_element(element: bytes, before: str) -> bytes:
    """Return the bytes of a radiograph's data set with this element in front of another."""
    film = radiograph(size=4)
    del film.PixelData
    first = Dataset({tag: film[tag] for tag in film.keys() if tag < film[before].tag})  # noqa: SIM118
    last = Dataset({tag: film[tag] for tag in film.keys() if tag > film[before].tag})  # noqa: SIM118
    return encoded(first) + element + encoded(last)


def test_a_broken_value_below_40_sequences_is_filed_by_the_node_at_once() -> None:
    """pydicom's error text doubled with each level: 1.5 KB of an object took gigabytes and minutes."""
    body = with_element(nested(40, (0x0010, 0x0020)), "PatientID")
    began = time.monotonic()
    found = read_header(scan_dataset(BytesIO(body), EXPLICIT), Uid(EXPLICIT))
    assert time.monotonic() - began < SOON_S
    assert found.patient_id == ""


def test_sequences_in_the_meta_group_do_not_hold_up_its_reader() -> None:
    head = part10(b"", EXPLICIT)
    meta = nested(40, (0x0002, 0x0000)) + head[144:]
    began = time.monotonic()
    with pytest.raises(Exception):  # noqa: B017, PT011 - pydicom raises what it likes, but soon
        str(dcmread(BytesIO(head[:132] + meta)))
    assert time.monotonic() - began < SOON_S


def test_a_transfer_syntax_that_is_none_is_no_data_set() -> None:
    with pytest.raises(InvalidHeader, match="transfer syntax"):
        scan_dataset(BytesIO(encoded(radiograph())), "1.2.840.10008.1.1")


def test_what_cannot_be_read_is_not_transcoded_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "object.dcm"
    path.write_bytes(part10(with_element(nested(300, (0x0040, 0xA730)), "Modality"), EXPLICIT))
    with pytest.raises(BrokenImage, match="data set unreadable"):
        transcode(path, "1.2.840.10008.1.2.2")


def test_an_object_without_transfer_syntax_is_not_transcoded() -> None:
    file = part10(encoded(radiograph()), EXPLICIT)
    at = file.index(b"\x02\x00\x10\x00UI")
    length = struct.unpack_from("<H", file, at + 6)[0]
    with pytest.raises(BrokenImage, match="data set unreadable"):
        transcode(BytesIO(file[:at] + file[at + 8 + length :]), EXPLICIT)


def test_a_level_of_another_vr_is_a_wrong_identifier_not_an_error_of_ours() -> None:
    body = struct.pack("<HH2sH", 0x0008, 0x0052, b"SL", 6) + b"STUDY "
    identifier = dcmread(BytesIO(part10(body, EXPLICIT)))
    with pytest.raises(InvalidIdentifier, match="QueryRetrieveLevel"):
        read_wanted(identifier, "1.2.840.10008.5.1.4.1.2.2.3")


def test_a_deflated_bomb_is_inflated_by_no_process_but_a_child(tmp_path: Path) -> None:
    """The web application inflated stored objects whole when it was asked for their metadata."""
    path = tmp_path / "bomb.dcm"
    path.write_bytes(deflated(2048))
    assert path.stat().st_size < 32 << 20
    for read in (guarded.attributes, lambda found: guarded.transcoded(found, EXPLICIT)):
        with pytest.raises(BrokenImage, match="too many bytes inflated"):
            read(path)
    assert guarded.same_pixels_and_header(path, path) is False


def test_a_deflated_rejection_note_is_read_and_a_bomb_of_one_is_inflated_by_no_process_but_a_child(
    tmp_path: Path,
) -> None:
    """The node parsed notes itself, and inflated them whole."""
    films = [synthetic_film(seed) for seed in range(2)]
    note = rejection_note("113001", *films)
    paths = tmp_path / "note.dcm", tmp_path / "bomb.dcm"
    for path, padding in zip(paths, (0, 512), strict=True):
        packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
        body = packer.compress(encoded(note))
        if padding:
            body += packer.compress(struct.pack("<HH2sHL", 0x7FE0, 0x10, b"OW", 0, padding << 20))
            body += b"".join(packer.compress(bytes(1 << 20)) for _ in range(padding))
        body += packer.flush()
        path.write_bytes(part10(body + bytes(len(body) % 2), DeflatedExplicitVRLittleEndian, uid=note.SOPInstanceUID))
    found = guarded.rejection_note(paths[0])
    assert found is not None
    assert [one.sop_instance_uid for one in found.references] == [film.SOPInstanceUID for film in films]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert guarded.rejection_note(paths[1]) is None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10, "KiB"


def _broken_sequence(tag: tuple[int, int]) -> bytes:
    """Return a sequence whose only item ends in the middle of a tag."""
    return struct.pack("<HH2sHL", *tag, b"SQ", 0, 2) + b"\xfe\xff"


def test_a_broken_sequence_in_the_place_of_a_key_is_a_wrong_identifier() -> None:
    study_root_get = "1.2.840.10008.5.1.4.1.2.2.3"
    nested_once = struct.pack("<HHL", 0xFFFE, 0xE000, 14) + _broken_sequence((0x0020, 0x000D))
    content = struct.pack("<HH2sH", 0x0008, 0x0052, b"CS", 6) + b"STUDY "
    content += struct.pack("<HH2sHL", 0x0020, 0x000D, b"SQ", 0, len(nested_once)) + nested_once
    with pytest.raises(InvalidIdentifier, match="StudyInstanceUID cannot be read"):
        read_wanted(dcmread(BytesIO(content), force=True), study_root_get)


def test_an_object_with_a_broken_sequence_in_the_place_of_a_name_cannot_be_corrected_and_says_so(
    tmp_path: Path,
) -> None:
    path = tmp_path / "object.dcm"
    path.write_bytes(part10(with_element(_broken_sequence((0x0010, 0x0010)), "PatientName"), EXPLICIT))
    with pytest.raises(BrokenImage, match="attributes unreadable"):
        corrected(path, PatientValues("A", "1", "", "", ""), "REGIONMIR")


def test_an_object_with_a_broken_sequence_in_the_place_of_a_value_gives_no_copy_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "object.dcm"
    body = with_element(_broken_sequence((0x0028, 0x0301)), "PixelRepresentation")
    path.write_bytes(part10(body, EXPLICIT))
    identity = CopyIdentity("P", Uid("1.2.3"), Uid("1.2.3.4"), Uid("1.2.3.4.5"), 7)
    with pytest.raises(BrokenImage, match="attributes unreadable"):
        pseudonymous_copy(path, Substitution(identity, lambda _kind, _uid: Uid("1.2.3")), "REGIONMIR")
