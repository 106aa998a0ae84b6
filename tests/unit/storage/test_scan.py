"""Reading the head of what a stranger sent: it agrees with pydicom on good data sets and survives bad ones."""

import io
import struct
import time
import tracemalloc
import warnings
import zlib
from contextlib import suppress
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from regionmir.core.errors import InvalidHeader
from regionmir.core.header import read_header
from regionmir.core.identifiers import Uid
from regionmir.storage import scan
from regionmir.storage.scan import scan_dataset

EXPLICIT, IMPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
SQ_UNDEFINED = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff"
ITEM_UNDEFINED = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
ITEM_END = b"\xfe\xff\x0d\xe0\0\0\0\0"
SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"


def scanned(data: bytes, syntax: str = EXPLICIT) -> Dataset:
    return scan_dataset(io.BytesIO(data), syntax)


def example() -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "1.2.3"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3.4", "1.2.3.4.5"
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName, dataset.PatientID = "홍^길동", "P1"
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.9"
    dataset.ReferencedImageSequence = Sequence([item])
    return dataset


def encoded(dataset: Dataset, syntax: str = EXPLICIT, *, undefined: bool = False) -> bytes:
    if undefined:
        dataset["ReferencedImageSequence"].is_undefined_length = True
        dataset.ReferencedImageSequence[0].is_undefined_length_sequence_item = True
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = UID(syntax).is_implicit_VR, UID(syntax).is_little_endian
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def sample_files() -> list[Path]:
    """Return the samples inside the pydicom wheel (its own helper would download more)."""
    return sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm"))


def test_it_agrees_with_pydicom_on_every_sample_that_pydicom_brings() -> None:
    compared = 0
    for path in sample_files():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                whole = pydicom.dcmread(path)
                expected = read_header(whole, Uid(whole.file_meta.TransferSyntaxUID))
            except Exception:  # samples of broken files, or without UIDs
                continue
            with path.open("rb") as file:
                file.seek(132)
                meta = pydicom.filereader.read_file_meta_info(path)
                file.seek(132 + 12 + meta.FileMetaInformationGroupLength)
                try:
                    found = read_header(scan_dataset(file, expected.transfer_syntax_uid), expected.transfer_syntax_uid)
                except InvalidHeader:
                    assert path.stem in {"MR_truncated", "rtplan_truncated"}, path
                    continue
        assert found == expected, path
        compared += 1
    assert compared >= 20


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG])
def test_values_names_and_short_sequences_are_read_in_every_encoding(syntax: str, undefined: bool) -> None:
    header = read_header(scanned(encoded(example(), syntax, undefined=undefined), syntax), Uid(syntax))
    assert header.sop_instance_uid == "1.2.3"
    assert header.attributes["00100010"]["Value"] == [{"Alphabetic": "홍^길동"}]
    assert header.attributes["00081140"]["Value"][0]["00081155"]["Value"] == ["1.9"]


def test_a_deflated_data_set_is_read() -> None:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    data = deflate.compress(encoded(example())) + deflate.flush()
    assert scanned(data, DEFLATED).PatientID == "P1"
    with pytest.raises(InvalidHeader, match="truncated"):
        scanned(data[:-20], DEFLATED)
    with pytest.raises(InvalidHeader, match="not deflated"):
        scanned(encoded(example()), DEFLATED)


def test_implicit_elements_under_an_explicit_syntax_are_read_as_archives_hold_them() -> None:
    assert scanned(encoded(example(), IMPLICIT), EXPLICIT).PatientID == "P1"


def test_an_unknown_character_set_refuses_nothing() -> None:
    data = encoded(example()).replace(b"ISO_IR 192", b"ISO_IR 999")
    assert scanned(data).PatientID == "P1"


def test_pixel_data_is_never_read() -> None:
    data = encoded(example()) + b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<L", 1 << 20) + bytes(1 << 20)
    assert "PixelData" not in scanned(data)


def test_encapsulated_pixel_data_may_lack_its_last_delimiter() -> None:
    start = encoded(example()) + b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\0\0\0\0"
    fragment = b"\xfe\xff\x00\xe0\x04\0\0\0abcd"
    assert scanned(start + fragment + SEQUENCE_END).PatientID == "P1"
    assert scanned(start + fragment).PatientID == "P1"
    with pytest.raises(InvalidHeader, match="truncated"):
        scanned(start + fragment[:-2])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 7,
        b"\0" * 4096,
        b"This is not DICOM at all, but somebody sent it all the same.",
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8,
        bytes(128) + b"DICM" + b"\x02\0\0\0UL\x04\0\0\0\0\0",
    ],
)
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG, DEFLATED])
def test_what_is_no_data_set_is_refused(data: bytes, syntax: str) -> None:
    with pytest.raises(InvalidHeader):
        scanned(data, syntax)


def test_a_data_set_cut_anywhere_inside_an_element_is_refused() -> None:
    data = encoded(example())
    ends = {0}
    refused = 0
    for cut in range(len(data)):
        try:
            scanned(data[:cut])
            ends.add(cut)
        except InvalidHeader:
            refused += 1
    assert refused > 0.8 * len(data)


def test_an_absurd_length_takes_no_memory() -> None:
    data = encoded(example()) + b"\x20\x00\x00\x40LT\xff\xff" + b"\x42\0\x11\0OB\0\0" + struct.pack("<L", 0xFFFFFFF0)
    tracemalloc.start()
    with pytest.raises(InvalidHeader):
        scanned(data)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_bottomless_sequences_are_refused_quickly() -> None:
    started = time.monotonic()
    with pytest.raises(InvalidHeader, match="deep"):
        scanned((SQ_UNDEFINED + ITEM_UNDEFINED) * 100_000)
    assert time.monotonic() - started < 2


def test_nested_sequences_within_the_limit_are_passed_over() -> None:
    depth = 30
    nested = (SQ_UNDEFINED + ITEM_UNDEFINED) * depth + (ITEM_END + SEQUENCE_END) * depth
    tail = b"\x10\x00\x20\x00LO\x02\0P2"
    assert scanned(nested + tail).PatientID == "P2"


def test_deep_sequences_of_defined_length_neither_recurse_nor_refuse() -> None:
    value = b""
    while len(value) < scan.MAX_VALUE_BYTES - 100:
        item = b"\xfe\xff\x00\xe0" + struct.pack("<L", len(value)) + value
        value = b"\x08\x00\x40\x11SQ\0\0" + struct.pack("<L", len(item)) + item
    dataset = scanned(value + encoded(example()))
    started = time.monotonic()
    assert read_header(dataset, Uid(EXPLICIT)).sop_instance_uid == "1.2.3"
    assert time.monotonic() - started < 5


def test_a_head_of_many_values_takes_bounded_memory_and_is_filed_by_its_uids() -> None:
    items = (b"\xfe\xff\x00\xe0" + bytes(4)) * 2000
    many = b"".join(struct.pack("<HH2sHL", 0x0008, 0x2000 + n, b"SQ", 0, len(items)) + items for n in range(1000))
    data = encoded(example())
    uids = data.index(b"\x10\x00\x10\x00")
    file = io.BytesIO(data[:uids] + many + data[uids:])
    tracemalloc.start()
    header = read_header(scan_dataset(file, EXPLICIT), Uid(EXPLICIT))
    assert tracemalloc.get_traced_memory()[1] < 6 << 20
    tracemalloc.stop()
    assert (header.study_instance_uid, header.patient_id) == ("1.2.3.4", "P1")


def test_endless_elements_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "MAX_ELEMENTS", 1000)
    with pytest.raises(InvalidHeader, match="too many"):
        scanned(b"\x08\x00\x08\x00CS\0\0" * 1001)


def test_a_deflate_bomb_takes_bounded_memory() -> None:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    head = encoded(example()) + b"\xe0\x7f\x10\x00OB\0\0" + struct.pack("<L", 256 << 20)
    data = deflate.compress(head) + b"".join(deflate.compress(bytes(1 << 20)) for _ in range(256)) + deflate.flush()
    tracemalloc.start()
    assert scanned(data, DEFLATED).PatientID == "P1"
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()


@given(st.binary(max_size=300), st.sampled_from([EXPLICIT, IMPLICIT, BIG, DEFLATED]))
def test_any_bytes_give_a_data_set_or_one_kind_of_error(data: bytes, syntax: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with suppress(InvalidHeader):
            read_header(scanned(data, syntax), Uid(syntax))


@given(st.integers(0, 2000), st.integers(0, 255))
def test_one_changed_byte_gives_a_data_set_or_one_kind_of_error(at: int, value: int) -> None:
    data = bytearray(encoded(example(), undefined=True))
    data[at % len(data)] = value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with suppress(InvalidHeader):
            read_header(scanned(bytes(data)), Uid(EXPLICIT))
