"""Real radiographs and other people's tools: the same film, the same grey values, valid objects."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset

from regionmir.core.errors import UnsupportedImage
from regionmir.pixels.decode import display_image, read_dataset
from regionmir.pixels.dicomize import Naming, dicomize_films, read_films
from regionmir.pixels.eligibility import check_frontal_chest
from tests.conftest import REQUIRE_PEERS
from tests.support.films import write_film

DCIODVFY = Path("/usr/bin/dciodvfy")


def judged(dataset: Dataset) -> str:
    """Return the view, or the reason why it is refused."""
    try:
        return check_frontal_chest(dataset)
    except UnsupportedImage as refused:
        return refused.reason


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("RG1_J2KI.dcm", "PA"),
        ("RG1_JLSN", "PA"),
        ("RSNA_CR_JPEG", "PA"),
        ("RSNA_CR_MONO1_JPEG", "PA"),
        ("RG2_RLE", "body part HIP"),
        ("CT1_UNC", "modality CT"),
        ("CT1_JLSL", "modality CT"),
        ("MR1_UNC", "modality MR"),
        ("XA1_J2KR", "modality XA"),
    ],
)
def test_chest_films_are_taken_and_everything_else_is_refused_with_a_reason(
    shared_dir: Path, name: str, expected: str
) -> None:
    dataset = read_dataset(shared_dir / "data" / "dicom" / name)
    assert judged(dataset) == expected
    assert display_image(dataset).values.std() > 0.05


def test_one_film_in_two_compressions_looks_the_same(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "dicom"
    a, b = display_image(folder / "RG1_J2KI.dcm"), display_image(folder / "RG1_JLSN")
    assert a.values.shape == (1955, 1841)
    assert np.abs(a.values - b.values).max() < 0.02


def test_lossless_twins_have_equal_hashes(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "dicom"
    assert display_image(folder / "CT1_UNC").pixel_sha256 == display_image(folder / "CT1_JLSL").pixel_sha256


def rendered(path: Path, *options: str) -> np.ndarray:
    """Return what dcmtk shows of the film: 8-bit grey values as 0..1."""
    picture = path.with_suffix(".pgm")
    subprocess.run(["/usr/bin/dcm2pnm", *options, str(path), str(picture)], check=True, timeout=60)
    with Image.open(picture) as image:
        return np.asarray(image, np.float32) / 255


@pytest.mark.parametrize(
    ("attributes", "options"),
    [
        ({}, ["+Wi", "1"]),
        ({"WindowCenter": "1000", "WindowWidth": "700"}, ["+Wi", "1"]),
        ({"WindowCenter": "1000", "WindowWidth": "700", "VOILUTFunction": "SIGMOID"}, ["+Wi", "1"]),
        ({"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": None}, ["+Wi", "1"]),
        ({"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}, ["+Wi", "1"]),
        ({"PhotometricInterpretation": "MONOCHROME2", "PresentationLUTShape": "INVERSE"}, ["+Wi", "1"]),
        ({"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "IDENTITY"}, ["+Wi", "1"]),
        (
            {"RescaleSlope": "0.5", "RescaleIntercept": "-300", "WindowCenter": "500", "WindowWidth": "900"},
            ["+Wi", "1"],
        ),
        ({"bits": 8, "WindowCenter": None, "WindowWidth": None}, ["-W"]),
        ({"bits": 16}, ["+Wi", "1"]),
        ({"bits": 10, "transfer_syntax_uid": "1.2.840.10008.1.2.5"}, ["+Wi", "1"]),
        ({"bits": 12, "transfer_syntax_uid": "1.2.840.10008.1.2.2"}, ["+Wi", "1"]),
    ],
)
def test_grey_values_are_those_that_dcmtk_shows(
    dcmtk: Path, tmp_path: Path, attributes: dict[str, Any], options: list[str]
) -> None:
    path = write_film(tmp_path / "film.dcm", 5, **attributes)
    np.testing.assert_allclose(display_image(path).values, rendered(path, *options), atol=0.006)


@pytest.mark.parametrize("name", ["RSNA_CR_JPEG", "RSNA_CR_MONO1_JPEG"])
def test_a_jpeg_film_has_the_grey_values_that_dcmtk_shows(
    dcmtk: Path, shared_dir: Path, tmp_path: Path, name: str
) -> None:
    copy = tmp_path / "film.dcm"
    copy.write_bytes((shared_dir / "data" / "dicom" / name).read_bytes())
    subprocess.run(["/usr/bin/dcmdjpeg", str(copy), str(tmp_path / "plain.dcm")], check=True, timeout=60)
    theirs = rendered(tmp_path / "plain.dcm", "-W")
    assert np.abs(display_image(copy).values - theirs).mean() < 0.006  # decoders round differently


@pytest.fixture(scope="module")
def dciodvfy() -> Path:
    """Return the validator of dicom3tools."""
    if not DCIODVFY.is_file():
        if REQUIRE_PEERS:
            pytest.fail("required and absent: dciodvfy (apt-get install dicom3tools)")
        pytest.skip("absent: dciodvfy (apt-get install dicom3tools)")
    return DCIODVFY


@pytest.mark.parametrize("naming", [Naming(), Naming(patient_orientation=(), burned_in_annotation="NO")])
def test_dicomized_films_are_valid_objects(dciodvfy: Path, shared_dir: Path, tmp_path: Path, naming: Naming) -> None:
    films = read_films(shared_dir / "data" / "cxr")
    by_source = {film.source: film for film in films}
    done = dicomize_films(by_source.values(), tmp_path, naming=naming)
    assert len(done.written) == len(by_source) >= 4
    for film in done.written:
        checked = subprocess.run([str(dciodvfy), str(tmp_path / film.file)], capture_output=True, text=True, timeout=60)
        assert "Error" not in checked.stderr, checked.stderr


def test_the_shared_films_become_objects_that_the_index_takes(shared_dir: Path, tmp_path: Path) -> None:
    films = [film for film in read_films(shared_dir / "data" / "cxr") if film.split == "val"][:60]
    done = dicomize_films(films, tmp_path)
    assert (len(done.written), done.errors) == (60, ())
    for film in done.written:
        dataset = dcmread(tmp_path / film.file)
        check_frontal_chest(dataset)
        assert display_image(dataset).values.std() > 0.05
