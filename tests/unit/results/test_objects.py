"""What holds for every kind of result: whose it is, whose it never is, its UIDs and its characters."""

import dataclasses
import datetime as dt
from collections.abc import Iterator

import pytest
from pydicom.dataset import Dataset

from regionmir import __version__
from regionmir.core.anatomy import anatomy_by_short
from regionmir.core.geometry import Box
from regionmir.core.implementation import IMPLEMENTATION_CLASS_UID
from regionmir.core.pseudonyms import Pseudonymizer
from regionmir.core.records import DetectedRegion
from regionmir.results.presentation import region_boxes
from regionmir.results.report import measurement_report
from regionmir.results.source import KeptAnswer
from tests.support.films import synthetic_film
from tests.support.results import CODE, NAMES, answer, every_result, other_films, read_back, source, written

KINDS = ("sr", "sheet", "pdf", "gsps", "kos")


@pytest.fixture(scope="module")
def neighbours() -> list[Dataset]:
    return other_films(3)


@pytest.fixture(scope="module")
def kept(neighbours: list[Dataset]) -> KeptAnswer:
    return answer(neighbours)


@pytest.fixture(scope="module")
def results(kept: KeptAnswer) -> dict[str, Dataset]:
    return every_result(source(), kept)


def uids_and_texts(film: Dataset) -> Iterator[str]:
    for element in film.iterall():
        if element.VR in ("UI", "PN", "LO", "SH", "DA"):
            yield str(element.value)


def test_every_result_belongs_to_the_query_patient_and_study(results: dict[str, Dataset]) -> None:
    film = synthetic_film(1)
    for result in map(read_back, results.values()):
        assert (result.PatientName, result.PatientID) == (film.PatientName, film.PatientID)
        assert (result.StudyInstanceUID, result.AccessionNumber) == (film.StudyInstanceUID, film.AccessionNumber)


def test_no_byte_of_any_result_names_a_hit(results: dict[str, Dataset], neighbours: list[Dataset]) -> None:
    own = set(uids_and_texts(synthetic_film(1)))
    secrets = {text for film in neighbours for text in uids_and_texts(film)} - own
    assert {"Neighbour^101", "NEIGHBOUR-102", str(neighbours[2].SOPInstanceUID)} <= secrets
    for kind, result in results.items():
        content = written(result)
        found = [text for text in secrets if len(text) > 3 and text.encode() in content]
        assert not found, kind


def test_every_uid_of_a_result_is_known_from_the_query_or_made_here(results: dict[str, Dataset]) -> None:
    known = {str(element.value) for element in synthetic_film(1).iterall() if element.VR == "UI"}
    made = {
        str(result[keyword].value) for result in results.values() for keyword in ("SOPInstanceUID", "SeriesInstanceUID")
    }
    for result in results.values():
        for element in result.iterall():
            if element.VR == "UI" and not str(element.value).startswith("1.2.840.10008."):
                tracked = element.keyword == "UID"  # of a content item: tracking, observer
                assert str(element.value) in known | made or tracked, element.keyword


def test_the_code_that_opens_the_answer_again_stands_on_all_but_the_boxes(results: dict[str, Dataset]) -> None:
    for kind in ("sr", "sheet", "kos", "pdf"):
        assert f"SIM {CODE}".encode() in written(results[kind]), kind


def test_the_same_source_gives_the_same_bytes(results: dict[str, Dataset], kept: KeptAnswer) -> None:
    again = every_result(source(), kept)
    for kind in KINDS:
        assert written(again[kind]) == written(results[kind]), kind


def test_every_result_is_alone_in_its_series_and_has_uids_of_its_own(results: dict[str, Dataset]) -> None:
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber"):
        assert len({str(result[keyword].value) for result in results.values()}) == len(KINDS)


@pytest.mark.parametrize(
    "change",
    [
        {"pseudonymizer": Pseudonymizer(b"another site's secret, 32 bytes.")},
        {"model": dataclasses.replace(source().model, weights_sha256="ef" * 32)},
        {"image": source(synthetic_film(2)).image},
    ],
    ids=["site", "model", "image"],
)
def test_another_site_model_or_image_gives_other_uids(
    results: dict[str, Dataset], kept: KeptAnswer, change: dict[str, object]
) -> None:
    for kind, other in every_result(source(**change), kept).items():
        assert other.SOPInstanceUID != results[kind].SOPInstanceUID, kind
        assert other.SeriesInstanceUID != results[kind].SeriesInstanceUID, kind


def test_another_answer_gives_another_report_and_sheet(results: dict[str, Dataset], kept: KeptAnswer) -> None:
    others = every_result(source(), dataclasses.replace(kept, code="ZZZZ0000"))
    for kind in ("sr", "sheet", "pdf", "kos"):
        assert others[kind].SOPInstanceUID != results[kind].SOPInstanceUID
    assert others["gsps"].SOPInstanceUID == results["gsps"].SOPInstanceUID


def test_boxes_of_another_region_are_another_presentation_state() -> None:
    one = source(regions=(DetectedRegion(anatomy_by_short("CARD"), Box(1, 1, 9, 9), 0.5),))
    assert region_boxes(one).SOPInstanceUID != region_boxes(source()).SOPInstanceUID


def test_results_carry_the_time_they_are_given() -> None:
    report = measurement_report(source(made_at=dt.datetime(2025, 12, 31, 23, 59, 58)))
    assert (report.ContentDate, report.ContentTime, report.SeriesDate) == ("20251231", "235958", "20251231")


def test_results_name_the_software_that_made_them(results: dict[str, Dataset]) -> None:
    for result in results.values():
        assert (result.Manufacturer, result.SoftwareVersions) == ("RegionMIR", __version__)
        assert result.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID


@pytest.mark.parametrize("script", NAMES)
def test_a_name_in_any_script_goes_over_in_the_character_set_of_the_image(script: str, kept: KeptAnswer) -> None:
    terms, name = NAMES[script]
    film = read_back(synthetic_film(1, SpecificCharacterSet=list(terms) or None, PatientName=name))
    for kind, result in every_result(source(film), kept).items():
        again = read_back(result)
        assert str(again.PatientName) == name, kind
        stated = again.SpecificCharacterSet
        assert ([stated] if isinstance(stated, str) else list(stated)) == list(terms or ["ISO_IR 100"]), kind


def test_a_name_that_the_stated_character_set_lacks_is_written_as_utf_8(kept: KeptAnswer) -> None:
    film = synthetic_film(1, SpecificCharacterSet="ISO_IR 100", PatientName="Hong^Gildong=洪^吉洞=홍^길동")
    again = read_back(measurement_report(source(film)))
    assert (again.SpecificCharacterSet, str(again.PatientName)) == ("ISO_IR 192", "Hong^Gildong=洪^吉洞=홍^길동")
