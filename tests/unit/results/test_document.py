"""The PDF inside DICOM."""

import re
import zlib
from base64 import a85decode

import pytest
from pydicom.dataset import Dataset

from regionmir.results.document import pdf_bytes, similar_regions_pdf
from regionmir.results.source import KeptAnswer
from tests.support.films import synthetic_film
from tests.support.results import CODE, answer, other_films, read_back, source


@pytest.fixture(scope="module")
def kept() -> KeptAnswer:
    return answer(other_films(3))


@pytest.fixture(scope="module")
def document(kept: KeptAnswer) -> Dataset:
    return read_back(similar_regions_pdf(source(), kept))


def pdf_text(document: bytes) -> str:
    """Return what the pages draw as text."""
    streams = re.findall(rb"/ASCII85Decode /FlateDecode \].*?stream\n?(.*?)~>", document, re.DOTALL)
    drawn = b"\n".join(zlib.decompress(a85decode(stream.strip())) for stream in streams)
    return "\n".join(re.findall(r"\((.*?)\) Tj", drawn.decode("latin-1"))).replace("\\(", "(").replace("\\)", ")")


def test_the_object_says_whose_pixels_it_holds_and_how_long_it_is(document: Dataset) -> None:
    assert document.SeriesDescription.startswith("OTHER PATIENTS:")
    assert document.DocumentTitle.startswith("OTHER PATIENTS:")
    assert (document.Modality, document.BurnedInAnnotation) == ("DOC", "YES")
    assert document.MIMETypeOfEncapsulatedDocument == "application/pdf"
    content = document.EncapsulatedDocument[: document.EncapsulatedDocumentLength]
    assert content.startswith(b"%PDF-")
    assert content.rstrip().endswith(b"%%EOF")


def test_it_prints_the_code_the_warning_the_hits_and_the_regions(kept: KeptAnswer) -> None:
    text = pdf_text(pdf_bytes(source(), kept))
    for printed in (f"SIM {CODE}", "SIMILAR REGIONS, OTHER PATIENTS, NOT FOR DIAGNOSIS", "#3", "0.970", "40-44 Y",
                    "left lower lung zone", "SYN-0001", "SYN000001", "2020-01-02", "412 of 430 indexed"):  # fmt: skip
        assert printed in text, printed


def test_a_name_of_a_patient_is_not_printed_and_an_id_without_latin_letters_is_left_out(kept: KeptAnswer) -> None:
    film = synthetic_film(1, PatientID="환자-1", PatientName="Printed^Never")
    text = pdf_text(pdf_bytes(source(film), kept))
    assert "Patient ID" not in text
    assert "Printed" not in text
    assert "SYN000001" in text
