"""The presentation state draws boxes and leaves the image as it is seen without it."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from regionmir.core.errors import ResultError
from regionmir.results.presentation import region_boxes
from tests.support.films import synthetic_film
from tests.support.results import REGIONS, read_back, source


def state(**attributes: Any) -> Dataset:
    return read_back(region_boxes(source(synthetic_film(1, **attributes))))


def lut(keyword: str) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [4096, 0, 12]
    item.LUTData = np.arange(4096, dtype="<u2").tobytes()
    item["LUTData"].VR = "OW"
    if keyword == "ModalityLUTSequence":
        item.ModalityLUTType = "US"
    return item


def test_it_refers_to_the_image_and_shows_all_of_it() -> None:
    film, boxes = synthetic_film(1, rows=300), state(rows=300)
    (series,) = boxes.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == film.SeriesInstanceUID
    assert series.ReferencedImageSequence[0].ReferencedSOPInstanceUID == film.SOPInstanceUID
    (area,) = boxes.DisplayedAreaSelectionSequence
    assert list(area.DisplayedAreaTopLeftHandCorner) == [1, 1]
    assert list(area.DisplayedAreaBottomRightHandCorner) == [256, 300]


def test_each_region_is_a_closed_polyline_in_pixels_with_a_label() -> None:
    (annotation,) = state().GraphicAnnotationSequence
    for outline, text, region in zip(
        annotation.GraphicObjectSequence, annotation.TextObjectSequence, REGIONS, strict=True
    ):
        x0, y0, x1, y1 = region.box.as_tuple()
        assert (outline.GraphicType, outline.GraphicAnnotationUnits) == ("POLYLINE", "PIXEL")
        np.testing.assert_array_equal(outline.GraphicData, [x0, y0, x1, y0, x1, y1, x0, y1, x0, y0])
        assert text.UnformattedTextValue == f"{region.anatomy.short} {region.score:.2f}"
        assert text.BoundingBoxBottomRightHandCorner[1] == pytest.approx(y0), "just above the box"


def test_a_label_stays_on_the_image_where_the_box_touches_its_upper_edge() -> None:
    high = dataclasses.replace(REGIONS[0], box=dataclasses.replace(REGIONS[0].box, y0=0.0))
    (annotation,) = region_boxes(source(regions=(high,))).GraphicAnnotationSequence
    assert annotation.TextObjectSequence[0].BoundingBoxTopLeftHandCorner[1] == 0


def test_window_and_rescale_are_those_of_the_image() -> None:
    boxes = state(
        WindowCenter=[2000, 40],
        WindowWidth=[1000, 400],
        RescaleSlope="2",
        RescaleIntercept="-5",
        VOILUTFunction="SIGMOID",
    )
    (voi,) = boxes.SoftcopyVOILUTSequence
    assert (voi.WindowCenter, voi.WindowWidth, voi.VOILUTFunction) == (2000, 1000, "SIGMOID")
    assert (boxes.RescaleSlope, boxes.RescaleIntercept, boxes.RescaleType) == (2, -5, "US")


@pytest.mark.parametrize(
    ("keyword", "kept_in"), [("VOILUTSequence", "SoftcopyVOILUTSequence"), ("ModalityLUTSequence", "")]
)
def test_lookup_tables_are_those_of_the_image(keyword: str, kept_in: str) -> None:
    boxes = state(**{keyword: [lut(keyword)]})
    holder = boxes[kept_in].value[0] if kept_in else boxes
    (table,) = holder[keyword].value
    assert table.LUTDescriptor[0] == 4096
    assert table.LUTData == lut(keyword).LUTData


def test_an_image_without_window_gets_none() -> None:
    boxes = state(WindowCenter=None, WindowWidth=None)
    assert "SoftcopyVOILUTSequence" not in boxes
    assert "RescaleSlope" not in boxes


@pytest.mark.parametrize(
    ("photometric", "shape", "expected"),
    [
        ("MONOCHROME2", "IDENTITY", "IDENTITY"),
        ("MONOCHROME2", None, "IDENTITY"),
        ("MONOCHROME1", None, "INVERSE"),
        ("MONOCHROME1", "INVERSE", "INVERSE"),
        ("MONOCHROME2", "LIN OD", "IDENTITY"),
    ],
)
def test_the_polarity_is_that_of_the_image(photometric: str, shape: str | None, expected: str) -> None:
    assert state(PhotometricInterpretation=photometric, PresentationLUTShape=shape).PresentationLUTShape == expected


def test_a_colour_image_or_no_region_has_no_boxes() -> None:
    with pytest.raises(ResultError, match="colour"):
        region_boxes(source(synthetic_film(1, PhotometricInterpretation="RGB")))
    with pytest.raises(ResultError, match="no region"):
        region_boxes(source(regions=()))
