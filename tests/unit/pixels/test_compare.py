"""Two copies of one instance are the same when every stored value and every attribute is."""

from pathlib import Path
from typing import Any

import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from regionmir.pixels.compare import content_sha256, same_pixels_and_header
from tests.support.films import save, synthetic_film, write_film


def nested() -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "51185008", "SCT", "Chest"
    return Sequence([item])


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEG2000Lossless,
    ],
    ids=lambda uid: uid.name,
)
def test_a_lossless_copy_in_another_syntax_is_the_same(tmp_path: Path, syntax: UID) -> None:
    a = write_film(tmp_path / "a.dcm", 1, AnatomicRegionSequence=nested())
    b = write_film(tmp_path / "b.dcm", 1, AnatomicRegionSequence=nested(), transfer_syntax_uid=syntax)
    assert same_pixels_and_header(a, b)
    assert same_pixels_and_header(b, a)
    assert content_sha256(a) == content_sha256(b)
    assert content_sha256(a) != content_sha256(write_film(tmp_path / "c.dcm", 2, AnatomicRegionSequence=nested()))


def test_private_attributes_are_compared_whether_or_not_their_vr_is_written(tmp_path: Path) -> None:
    paths = []
    for name, syntax, value in (
        ("a", ExplicitVRLittleEndian, "one"),
        ("b", ImplicitVRLittleEndian, "one"),
        ("c", ImplicitVRLittleEndian, "two"),
    ):
        film = synthetic_film(1, transfer_syntax_uid=syntax)
        film.private_block(0x0011, "REGIONMIR TESTS", create=True).add_new(1, "LO", value)
        paths.append(save(film, tmp_path / name))
    assert same_pixels_and_header(paths[0], paths[1])
    assert not same_pixels_and_header(paths[0], paths[2])


@pytest.mark.parametrize(
    "change",
    [
        {"PatientID": "SYN-9999"},
        {"PatientName": "Another^Person"},
        {"AccessionNumber": None},
        {"ImageComments": "new"},
        {"AnatomicRegionSequence": nested()},
        {"WindowWidth": "77"},
        {"PixelPaddingValue": 0x2000},
        {"SpecificCharacterSet": "ISO_IR 100"},
    ],
)
def test_another_header_is_not_the_same(tmp_path: Path, change: dict[str, Any]) -> None:
    a = write_film(tmp_path / "a.dcm", 1, PixelPaddingValue=0)
    assert not same_pixels_and_header(a, write_film(tmp_path / "b.dcm", 1, **{"PixelPaddingValue": 0, **change}))


def test_one_other_pixel_is_not_the_same(tmp_path: Path) -> None:
    film = synthetic_film(1)
    a = save(film, tmp_path / "a.dcm")
    film.PixelData = film.PixelData[:-2] + bytes([film.PixelData[-2] ^ 1, film.PixelData[-1]])
    assert not same_pixels_and_header(a, save(film, tmp_path / "b.dcm"))


def test_every_frame_counts(tmp_path: Path) -> None:
    film = synthetic_film(1, rows=8, columns=8, NumberOfFrames="2")
    film.PixelData = film.PixelData * 2
    a = save(film, tmp_path / "a.dcm")
    film.compress(RLELossless, generate_instance_uid=False)
    assert same_pixels_and_header(a, save(film, tmp_path / "b.dcm"))
    film.decompress(generate_instance_uid=False)
    film.PixelData = film.PixelData[:-1] + b"\x0f"
    film.compress(RLELossless, generate_instance_uid=False)
    assert not same_pixels_and_header(a, save(film, tmp_path / "c.dcm"))


def test_objects_without_pixels_are_compared_by_their_header(tmp_path: Path) -> None:
    report = get_testdata_file("reportsi.dcm", download=False)
    assert isinstance(report, str)
    assert same_pixels_and_header(Path(report), Path(report))
    assert not same_pixels_and_header(Path(report), write_film(tmp_path / "film.dcm", 1))


def test_what_cannot_be_decoded_is_the_same_only_byte_for_byte(tmp_path: Path) -> None:
    paths = []
    for name, fill in (("a", b"\x00"), ("b", b"\x00"), ("c", b"\x01")):
        film = synthetic_film(1, BitsAllocated=32)
        film.PixelData = fill * 100
        paths.append(save(film, tmp_path / name))
    assert same_pixels_and_header(paths[0], paths[1])
    assert not same_pixels_and_header(paths[0], paths[2])


def test_what_cannot_be_read_is_not_the_same(tmp_path: Path) -> None:
    a = write_film(tmp_path / "a.dcm", 1)
    b = tmp_path / "b.dcm"
    b.write_bytes(b"not DICOM" * 50)
    assert not same_pixels_and_header(a, b)
