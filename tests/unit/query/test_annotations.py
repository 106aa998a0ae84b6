"""What a report, a presentation state and a key object selection mark, and what they do not."""

from typing import Any

import pytest
from pydicom.dataset import Dataset

from regionmir.core.anatomy import anatomy_by_short
from regionmir.core.errors import UnsupportedImage
from regionmir.core.geometry import Box
from regionmir.query.annotations import MAX_REGIONS, AnnotatedRegion, read_annotation
from tests.support.annotations import KOS, key_image, presentation, report

BOX = (10.0, 20.0, 30.0, 60.0)
LLLZ = anatomy_by_short("LLLZ")


def film() -> Dataset:
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "1.2.3.1"
    made.StudyInstanceUID, made.PatientID, made.PatientName = "1.2.3", "P1", "Doe"
    return made


def shape_of(made: Dataset) -> Dataset:
    found: Dataset = made.GraphicAnnotationSequence[0].GraphicObjectSequence[0]
    return found


def test_a_report_marks_the_rectangle_around_its_shape_in_the_region_of_its_finding_site() -> None:
    assert read_annotation(report(film(), BOX, LLLZ)) == (AnnotatedRegion(film().SOPInstanceUID, Box(*BOX), LLLZ),)
    assert read_annotation(report(film(), BOX))[0].anatomy is None


def test_the_older_spelling_of_snomed_is_read_too() -> None:
    made = report(film(), BOX, LLLZ)
    site = made.ContentSequence[0].ContentSequence[0].ContentSequence[0]
    name, side = site.ConceptNameCodeSequence[0], site.ContentSequence[0]
    name.CodingSchemeDesignator, name.CodeValue = "SRT", "G-C0E3"
    side.ConceptNameCodeSequence[0].CodingSchemeDesignator, side.ConceptNameCodeSequence[0].CodeValue = "SRT", "G-C171"
    side.ConceptCodeSequence[0].CodingSchemeDesignator, side.ConceptCodeSequence[0].CodeValue = "SRT", "G-A101"
    assert read_annotation(made)[0].anatomy == LLLZ


@pytest.mark.parametrize(
    ("kind", "data", "box"),
    [
        ("POLYLINE", (*BOX[:2], 30, 20, *BOX[2:], 10, 60), BOX),
        ("CIRCLE", (50, 50, 50, 60), (40, 40, 60, 60)),
        ("ELLIPSE", (10, 40, 30, 40, 20, 20, 20, 60), BOX),
        ("POLYLINE", (1, 1, 9, 9), None),
        ("POLYLINE", (1, 1, 9, 9, 1, 9), None),
        ("POINT", (5, 5), None),
        ("POLYLINE", (5, 5, 5, 5, 5, 5, 5, 5), None),
    ],
    ids=["open rectangle", "circle", "ellipse", "length", "angle", "point", "no area"],
)
def test_a_shape_counts_where_it_encloses_an_area(kind: str, data: Any, box: Any) -> None:
    made = presentation(film(), BOX)
    shape_of(made).GraphicType, shape_of(made).GraphicData = kind, list(data)
    if box is not None:
        assert [one.box for one in read_annotation(made)] == [Box(*box)]
    else:
        with pytest.raises(UnsupportedImage, match="without a region"):
            read_annotation(made)


def test_a_shape_of_no_image_of_its_own_counts_in_every_image_of_the_presentation_state() -> None:
    made = presentation(film(), BOX)
    layer = made.GraphicAnnotationSequence[0]
    series = Dataset()
    series.ReferencedImageSequence = layer.ReferencedImageSequence
    del layer.ReferencedImageSequence
    made.ReferencedSeriesSequence = [series]
    assert [one.sop_instance_uid for one in read_annotation(made)] == ["1.2.3.1"]


def test_a_key_object_selection_marks_whole_images_each_once_and_not_too_many() -> None:
    made = key_image(film())
    assert made.SOPClassUID == KOS
    made.ContentSequence.append(made.ContentSequence[0])
    assert read_annotation(made) == (AnnotatedRegion(film().SOPInstanceUID),)
    for number in range(20):
        other = film()
        other.SOPInstanceUID = f"1.2.3.{number + 2}"
        made.ContentSequence.append(key_image(other).ContentSequence[0])
    assert len(read_annotation(made)) == MAX_REGIONS


def test_what_marks_nothing_or_is_ours_or_is_broken_says_so() -> None:
    with pytest.raises(UnsupportedImage, match="not in pixels"):
        read_annotation(presentation(film(), BOX, "DISPLAY"))
    with pytest.raises(UnsupportedImage, match="own_copy"):
        read_annotation(report(film(), BOX, Manufacturer="RegionMIR"))
    lacking = film()
    lacking.SOPInstanceUID = ""
    with pytest.raises(UnsupportedImage, match="refers to no instance"):
        read_annotation(key_image(lacking))
    deep = report(film(), BOX)
    for _ in range(50):
        item = Dataset()
        item.ContentSequence = deep.ContentSequence
        deep.ContentSequence = [item]
    with pytest.raises(UnsupportedImage, match="nested too deeply"):
        read_annotation(deep)
