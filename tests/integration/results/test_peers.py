"""Other people's programs find no fault with what goes back to a PACS, and see in it what was put in."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from regionmir.core.anatomy import anatomies
from regionmir.core.records import DetectedRegion
from regionmir.pixels.decode import read_dataset
from regionmir.results.document import pdf_bytes
from regionmir.results.report import measurement_report
from regionmir.results.sheet import contact_sheet, sheet_pages
from regionmir.results.source import ResultSource
from tests.conftest import absent
from tests.support.films import save, synthetic_film
from tests.support.results import CODE, LLLZ, NAMES, REGIONS, answer, every_result, other_films, source
from tests.support.validation import complaints, said_by

FILMS: dict[str, dict[str, Any]] = {
    "DX": {},
    "CR": {"kind": "CR"},
    "capture": {"kind": "SC"},
    "inverted": {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": None},
    "rescaled": {"RescaleSlope": "2", "RescaleIntercept": "-100", "RescaleType": "US"},
    "bare": dict.fromkeys(("PatientBirthDate", "PatientSex", "StudyTime", "StudyID", "WindowCenter", "WindowWidth")),
} | {
    script: {"SpecificCharacterSet": list(terms) or None, "PatientName": name}
    for script, (terms, name) in NAMES.items()
}  # fmt: skip


def tool(name: str) -> str:
    path = Path("/usr/bin") / name
    if not path.is_file():
        absent(f"{name} (apt-get install {'dicom3tools' if name == 'dciodvfy' else 'dcmtk'})")
    return str(path)


def all_regions() -> ResultSource:
    return source(regions=tuple(DetectedRegion(anatomy, LLLZ, 0.5) for anatomy in anatomies()))


@pytest.mark.parametrize("name", FILMS)
def test_dciodvfy_finds_nothing_in_results_about_films_of_many_kinds(tmp_path: Path, name: str) -> None:
    dciodvfy = tool("dciodvfy")
    film = synthetic_film(1, **FILMS[name])
    for kind, result in every_result(source(film), answer(other_films(2), film)).items():
        path = save(result, tmp_path / f"{kind}.dcm")
        assert complaints(said_by(dciodvfy, path)) == [], kind


@pytest.mark.parametrize("name", ["RG1_J2KI.dcm", "RSNA_CR_JPEG", "RSNA_CR_MONO1_JPEG"])
def test_dciodvfy_finds_nothing_in_results_about_real_films(tmp_path: Path, shared_dir: Path, name: str) -> None:
    dciodvfy = tool("dciodvfy")
    film = read_dataset(shared_dir / "data" / "dicom" / name)
    for kind, result in every_result(source(film), answer(other_films(1), film)).items():
        assert complaints(said_by(dciodvfy, save(result, tmp_path / f"{kind}.dcm"))) == [], kind


def test_dciodvfy_finds_nothing_in_a_report_of_all_anatomies_and_a_sheet_of_many_pages(tmp_path: Path) -> None:
    dciodvfy = tool("dciodvfy")
    films = other_films(1) * 12
    for result in (measurement_report(all_regions()), contact_sheet(source(), answer(films))):
        assert complaints(said_by(dciodvfy, save(result, tmp_path / "result.dcm"))) == []


def test_dsrdump_reads_report_and_key_object_without_a_word_of_doubt(tmp_path: Path) -> None:
    dsrdump = tool("dsrdump")
    results = every_result(source(), answer(other_films(2)))
    report = said_by(dsrdump, "+Pl", save(results["sr"], tmp_path / "sr.dcm"))
    selection = said_by(dsrdump, "+Pl", save(results["kos"], tmp_path / "kos.dcm"))
    assert complaints(report) == complaints(selection) == []
    text = "\n".join(report)
    assert text.count('CONTAINER:(,,"Measurement Group")') == len(REGIONS)
    assert text.count('selected from IMAGE:(,,"Original Source")') == len(REGIONS)
    assert f'"SIM {CODE}"' in text
    assert '"Key Object Description"' in "\n".join(selection)


def test_dcmtk_checks_and_applies_the_presentation_state(tmp_path: Path) -> None:
    state = every_result(source(), answer(other_films(1)))["gsps"]
    lines = said_by(tool("dcmpschk"), save(state, tmp_path / "gsps.dcm"))
    assert any("Test passed" in line for line in lines)


def rendered(command: list[str | Path], picture: Path) -> np.ndarray:
    said_by(*command, picture)
    with Image.open(picture) as image:
        return np.asarray(image, np.float32)


@pytest.mark.parametrize("name", ["DX", "inverted", "rescaled"])
def test_under_the_presentation_state_the_image_looks_as_it_does_without(tmp_path: Path, name: str) -> None:
    film = synthetic_film(1, **FILMS[name])
    image = save(film, tmp_path / "image.dcm")
    state = save(every_result(source(film), answer(other_films(1), film))["gsps"], tmp_path / "gsps.dcm")
    plain = rendered([tool("dcm2pnm"), "+Wi", "1", image], tmp_path / "plain.pgm")
    under = rendered([tool("dcmp2pgm"), "-p", state, image], tmp_path / "under.pgm")
    assert np.abs(plain - under).max() <= 2, "rounding of two ways"


def test_dcmtk_sees_the_sheet_as_it_was_drawn(tmp_path: Path) -> None:
    kept = answer(other_films(2))
    path = save(contact_sheet(source(), kept), tmp_path / "sheet.dcm")
    drawn = rendered([tool("dcm2pnm"), "+op", path], tmp_path / "sheet.ppm")
    np.testing.assert_array_equal(drawn, np.asarray(sheet_pages(kept)[0]))


def test_a_pdf_comes_out_of_its_object_as_it_went_in(tmp_path: Path) -> None:
    kept, out = answer(other_films(1)), tmp_path / "out.pdf"
    said_by(tool("dcm2pdf"), save(every_result(source(), kept)["pdf"], tmp_path / "pdf.dcm"), out)
    assert out.read_bytes() == pdf_bytes(source(), kept)
