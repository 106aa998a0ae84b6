"""The structured report says what viewers look for, where they look for it."""

import dataclasses

import numpy as np
import pytest
from highdicom.sr import ComprehensiveSR
from pydicom.dataset import Dataset

from regionmir.core.errors import ResultError
from regionmir.results.report import measurement_report
from regionmir.results.source import KeptAnswer
from tests.support.films import synthetic_film
from tests.support.results import CODE, REGIONS, answer, other_films, read_back, source

Code = tuple[str, str]


@pytest.fixture(scope="module")
def kept() -> KeptAnswer:
    return answer(other_films(3))


@pytest.fixture(scope="module")
def report(kept: KeptAnswer) -> Dataset:
    return read_back(measurement_report(source(), [kept]))


def concept(item: Dataset) -> Code:
    code = item.ConceptNameCodeSequence[0]
    return (code.CodeValue, code.CodingSchemeDesignator)


def children(item: Dataset, *name: str) -> list[Dataset]:
    return [child for child in item.ContentSequence if concept(child) == name]


def groups(report: Dataset) -> list[Dataset]:
    return children(children(report, "126010", "DCM")[0], "125007", "DCM")


def text_of(group: Dataset, *name: str) -> list[str]:
    return [str(item.TextValue) for item in children(group, *name)]


def number_of(group: Dataset, name: str) -> list[float]:
    return [float(item.MeasuredValueSequence[0].NumericValue) for item in children(group, name, "99RGNMIR")]


def test_the_report_is_an_imaging_measurement_report_of_template_1500(report: Dataset) -> None:
    assert concept(report) == ("126000", "DCM")
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert (report.Modality, report.CompletionFlag, report.VerificationFlag) == ("SR", "COMPLETE", "UNVERIFIED")


def test_its_evidence_is_the_query_image_alone(report: Dataset) -> None:
    film = synthetic_film(1)
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    (instance,) = series.ReferencedSOPSequence
    assert (study.StudyInstanceUID, series.SeriesInstanceUID) == (film.StudyInstanceUID, film.SeriesInstanceUID)
    assert (instance.ReferencedSOPInstanceUID, instance.ReferencedSOPClassUID) == (
        film.SOPInstanceUID,
        film.SOPClassUID,
    )


def test_each_region_is_one_group_of_template_1410_with_a_tracking_uid_of_its_own(report: Dataset) -> None:
    found = groups(report)
    assert len(found) == len(REGIONS)
    assert {group.ContentTemplateSequence[0].TemplateIdentifier for group in found} == {"1410"}
    assert len({children(group, "112040", "DCM")[0].UID for group in found}) == len(REGIONS)
    assert [text_of(group, "112039", "DCM") for group in found] == [
        ["RegionMIR LLLZ"],
        ["RegionMIR RCPA"],
        ["RegionMIR CARD"],
    ]


def test_a_finding_site_is_coded_with_its_side(report: Dataset) -> None:
    sites = [children(group, "363698007", "SCT")[0] for group in groups(report)]
    codes = [site.ConceptCodeSequence[0] for site in sites]
    assert [(c.CodeValue, c.CodingSchemeDesignator) for c in codes] == [
        ("281394001", "SCT"),
        ("CPA", "99RGNMIR"),
        ("80891009", "SCT"),
    ]
    sides = [children(site, "272741003", "SCT")[0].ConceptCodeSequence[0].CodeValue for site in sites[:2]]
    assert sides == ["7771000", "24028007"]
    assert "ContentSequence" not in sites[2], "the heart has no side"


def test_private_codes_are_explained(report: Dataset) -> None:
    (scheme,) = report.CodingSchemeIdentificationSequence
    assert scheme.CodingSchemeDesignator == "99RGNMIR"
    assert scheme.CodingSchemeName


def test_a_box_is_a_closed_polyline_on_the_original_image(report: Dataset) -> None:
    film = synthetic_film(1)
    for group, region in zip(groups(report), REGIONS, strict=True):
        (outline,) = children(group, "111030", "DCM")
        assert (outline.ValueType, outline.GraphicType) == ("SCOORD", "POLYLINE")
        x0, y0, x1, y1 = region.box.as_tuple()
        np.testing.assert_array_equal(outline.GraphicData, [x0, y0, x1, y0, x1, y1, x0, y1, x0, y0])
        (image,) = outline.ContentSequence
        assert (image.RelationshipType, concept(image)) == ("SELECTED FROM", ("111040", "DCM"))
        assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == film.SOPInstanceUID


def test_a_box_beyond_the_image_ends_at_its_edge() -> None:
    wide = dataclasses.replace(REGIONS[0], box=dataclasses.replace(REGIONS[0].box, x1=9999.0, y0=-5.0))
    (group,) = groups(measurement_report(source(regions=(wide,))))
    points = np.reshape(children(group, "111030", "DCM")[0].GraphicData, (5, 2))
    assert (points[:, 0].max(), points[:, 1].min()) == (256, 0)


def test_the_model_stands_beside_every_region(report: Dataset) -> None:
    for group in groups(report):
        assert (text_of(group, "111001", "DCM"), text_of(group, "111003", "DCM")) == (["regionmir"], ["1.2"])
        assert text_of(group, "111002", "DCM") == [f"weights sha256={'ab' * 32}", f"preprocessing={'cd' * 8}"]


def test_score_similarity_and_result_set_stand_under_private_codes(report: Dataset) -> None:
    left, right, _ = groups(report)
    assert (number_of(left, "SCORE"), number_of(right, "SCORE")) == ([0.93], [0.8125])
    assert (number_of(left, "SIMILARITY"), number_of(right, "SIMILARITY")) == ([0.97], [])
    assert (text_of(left, "RESULTSET", "99RGNMIR"), text_of(right, "RESULTSET", "99RGNMIR")) == ([f"SIM {CODE}"], [])


def test_without_an_answer_the_report_has_the_regions_alone(kept: KeptAnswer) -> None:
    plain, searched = measurement_report(source()), measurement_report(source(), [kept])
    assert plain.SOPInstanceUID != searched.SOPInstanceUID
    assert all(number_of(group, "SCORE") and not text_of(group, "RESULTSET", "99RGNMIR") for group in groups(plain))


def test_an_answer_without_hits_has_a_code_and_no_similarity(kept: KeptAnswer) -> None:
    left = groups(measurement_report(source(), [dataclasses.replace(kept, hits=())]))[0]
    assert (number_of(left, "SIMILARITY"), text_of(left, "RESULTSET", "99RGNMIR")) == ([], [f"SIM {CODE}"])


def test_an_image_without_regions_has_no_report() -> None:
    with pytest.raises(ResultError, match="no region"):
        measurement_report(source(regions=()))


def test_highdicom_reads_the_regions_back(report: Dataset) -> None:
    read = ComprehensiveSR.from_dataset(report)
    found = read.content.get_planar_roi_measurement_groups()
    assert [group.finding_sites[0].topographical_modifier is None for group in found] == [True] * 3
    assert [group.tracking_identifier for group in found] == [f"RegionMIR {region.anatomy.short}" for region in REGIONS]
    for group, region in zip(found, REGIONS, strict=True):
        assert group.roi is not None
        np.testing.assert_array_equal(group.roi.value[0], region.box.as_tuple()[:2])
        assert group.get_measurements()[0].value == pytest.approx(region.score)
