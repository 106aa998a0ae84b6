import pytest
from pydicom.dataset import Dataset

from regionmir.core.errors import InvalidHeader
from regionmir.core.header import read_header
from regionmir.core.identifiers import Uid

IMPLICIT = Uid("1.2.840.10008.1.2")


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
    header = read_header(dataset, IMPLICIT)
    assert header.patient_id == "4711"
    assert header.attributes["00100010"]["Value"] == [{"Alphabetic": "Люкceмбypг"}]
    assert not [tag for tag in header.attributes if tag.startswith(("7FE0", "0099"))]


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
    header = read_header(dataset, IMPLICIT)
    assert "\0" not in str(header.attributes)


def test_a_value_that_is_too_long_is_left_out() -> None:
    dataset = minimal()
    dataset.add_new("PatientComments", "LT", "x" * 9000)
    assert "00104000" not in read_header(dataset, IMPLICIT).attributes
