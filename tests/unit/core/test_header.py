import io
import struct

import pytest
from pydicom import dcmwrite
from pydicom.dataset import Dataset

from regionmir.core import header
from regionmir.core.errors import InvalidHeader
from regionmir.core.header import read_header
from regionmir.core.identifiers import Uid
from regionmir.core.records import InstanceHeader
from regionmir.storage.scan import scan_dataset

IMPLICIT = Uid("1.2.840.10008.1.2")
EXPLICIT = Uid("1.2.840.10008.1.2.1")


def minimal() -> Dataset:
    dataset = Dataset()
    dataset.SOPInstanceUID = "1.2.3.4"
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    dataset.SeriesInstanceUID = "1.2.3"
    dataset.StudyInstanceUID = "1.2"
    return dataset


def test_the_header_holds_decoded_text_without_bulk_or_private_data() -> None:
    dataset = minimal()
    dataset.SpecificCharacterSet = "ISO_IR 144"
    dataset.PatientName = "Люкceмбypг"
    dataset.PatientID = " 4711 "
    dataset.PixelData = b"\0" * 10
    dataset.private_block(0x0099, "US", create=True).add_new(1, "LO", "secret")
    found = read_header(dataset, IMPLICIT)
    assert found.patient_id == "4711"
    assert found.attributes["00100010"]["Value"] == [{"Alphabetic": "Люкceмбypг"}]
    assert not [tag for tag in found.attributes if tag.startswith(("7FE0", "0099"))]


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SOPClassUID", "SeriesInstanceUID", "StudyInstanceUID"])
def test_a_missing_or_malformed_uid_is_named(keyword: str) -> None:
    dataset = minimal()
    delattr(dataset, keyword)
    with pytest.raises(InvalidHeader, match=keyword):
        read_header(dataset, IMPLICIT)


def test_an_illegal_uid_is_refused_without_repeating_it() -> None:
    dataset = minimal()
    element = dataset["StudyInstanceUID"]
    element._value = "Mustermann"
    with pytest.raises(InvalidHeader) as caught:
        read_header(dataset, IMPLICIT)
    assert "Mustermann" not in str(caught.value)


def test_one_broken_value_does_not_refuse_the_instance() -> None:
    dataset = minimal()
    dataset.add_new("Rows", "US", 5)
    dataset["Rows"]._value = "five"
    dataset.StudyDescription = "chest\0"
    found = read_header(dataset, IMPLICIT)
    assert "\0" not in str(found.attributes)


def test_a_value_that_is_too_long_is_left_out() -> None:
    dataset = minimal()
    dataset.add_new("PatientComments", "LT", "x" * 9000)
    assert "00104000" not in read_header(dataset, IMPLICIT).attributes


def described(charset: bytes, description: bytes) -> InstanceHeader:
    """Return the header of an instance whose study is described so, read from its bytes."""
    values = {
        (8, 0x0005, b"CS"): charset, (8, 0x0016, b"UI"): b"1.2\0", (8, 0x0018, b"UI"): b"1.3\0",
        (8, 0x1030, b"LO"): description, (0x20, 0x000D, b"UI"): b"1.4\0", (0x20, 0x000E, b"UI"): b"1.5\0",
        (0x28, 0x0010, b"US"): b"\x07\x00",
    }  # fmt: skip
    content = b"".join(struct.pack("<HH2sH", *tag, len(value)) + value for tag, value in values.items())
    return read_header(scan_dataset(io.BytesIO(content), EXPLICIT), EXPLICIT)


def test_a_value_seen_before_is_read_in_the_character_set_that_it_comes_in() -> None:
    texts = [
        described(charset, b"\xd0\xd1").attributes["00081030"]["Value"]
        for charset in (b"ISO_IR 144", b"ISO_IR 100", b"ISO_IR 144")
    ]
    assert texts == [["аб"], ["ÐÑ"], ["аб"]]


def test_what_is_remembered_of_values_is_bounded_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header, "_MOST_SEEN", 8)
    first = [described(b"ISO_IR 6", f"text {number}".encode()) for number in range(20)]
    assert len(header._SEEN) <= 8
    assert [described(b"ISO_IR 6", f"text {number}".encode()) for number in range(20)] == first
    assert first[7].attributes["00081030"] == {"vr": "LO", "Value": ["text 7"]}
    assert first[7].attributes["00280010"] == {"vr": "US", "Value": [7]}


@pytest.mark.parametrize(
    ("vr", "value"),
    [
        ("UI", b"1.2.3"), ("UI", b"1.2.34\0"), ("UI", b"1.2\\1.3\0"), ("UI", b"1.2 "), ("UI", b""),
        ("LO", b"4711"), ("LO", b"471 "), ("LO", b" 471"), ("LO", b"A\\B "), ("LO", b"A\xc4B "), ("LO", b"4" * 66),
        ("SH", b"X-1"), ("SH", b"X~\\1"), ("SH", b"\0\0"), ("LO", b"4" * 5000),
    ],
)  # fmt: skip
def test_a_value_that_is_read_the_short_way_is_what_pydicom_reads(
    vr: str, value: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = {"UI": 0x00081155, "LO": 0x00100020, "SH": 0x00080050}[vr]
    plain = minimal()
    plain.SpecificCharacterSet = "ISO_IR 100"
    file = io.BytesIO()
    dcmwrite(file, plain, implicit_vr=False, little_endian=True)
    element = struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value

    def found() -> InstanceHeader:
        header._SEEN.clear()
        return read_header(scan_dataset(io.BytesIO(file.getvalue() + element), EXPLICIT), EXPLICIT)

    short = found()
    monkeypatch.setattr(header, "_PLAIN", {})
    assert short == found()


def test_a_plain_value_is_read_without_pydicom(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    dcmwrite(file, minimal(), implicit_vr=False, little_endian=True)
    monkeypatch.setattr(Dataset, "__getitem__", None)
    file.seek(0)
    found = read_header(scan_dataset(file, EXPLICIT), EXPLICIT)
    assert found.attributes["00080018"] == {"vr": "UI", "Value": ["1.2.3.4"]}
