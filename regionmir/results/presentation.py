"""The presentation state: boxes and labels over one image, which is shown as it would be without them."""

from typing import Final

import numpy as np
from highdicom.pr import (
    AnnotationUnitsValues,
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GraphicTypeValues,
    TextJustificationValues,
    TextObject,
)
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from regionmir.core.errors import ResultError
from regionmir.core.geometry import Box
from regionmir.core.records import DetectedRegion
from regionmir.results.objects import PRESENTATION, as_instance, finished, image_reference, new_object
from regionmir.results.source import ResultSource, SourceImage

_GREY: Final = frozenset({"MONOCHROME1", "MONOCHROME2"})
_LAYER: Final = GraphicLayer("REGIONS", 1, "Regions found by RegionMIR")
_LABEL_HEIGHT: Final = 1 / 40
"""Of the image's longer side."""
_LETTER_WIDTH: Final = 0.62
"""Of a label's height."""


def region_boxes(source: ResultSource) -> Dataset:
    """Return a Grayscale Softcopy Presentation State (PS3.3 A.33.1) with the source's regions as labelled boxes.

    For a hit's box, the source is the hit's own image with that one region. Its UID depends on the image, the model
    and the anatomies only. Raises `ResultError` without a region, or for an image in colour.
    """
    if not source.regions:
        raise ResultError("no region to draw")
    if source.image.display.get("PhotometricInterpretation") not in _GREY:
        raise ResultError("a grayscale presentation state cannot show an image in colour")
    names = [region.anatomy.short for region in source.regions]
    state = new_object(source, PRESENTATION, "RegionMIR boxes", *names)
    state.PresentationCreationDate, state.PresentationCreationTime = state.SeriesDate, state.SeriesTime
    state.ContentLabel = "REGIONS"
    state.ContentDescription = f"Boxes: {' '.join(names)}"[:64]
    state.ContentCreatorName = "RegionMIR^Software"
    state.ReferencedSeriesSequence = [_referenced_series(source.image)]
    state.DisplayedAreaSelectionSequence = [_whole_area(source.image)]
    state.GraphicLayerSequence = [_LAYER]
    state.GraphicAnnotationSequence = [_annotation(source)]
    _set_grey_scale(state, source.image.display)
    return finished(state, source)


def _referenced_series(image: SourceImage) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = image.series_instance_uid
    item.ReferencedImageSequence = [image_reference(image)]
    return item


def _whole_area(image: SourceImage) -> Dataset:
    item = Dataset()
    item.DisplayedAreaTopLeftHandCorner = [1, 1]
    item.DisplayedAreaBottomRightHandCorner = [image.columns, image.rows]
    item.PresentationSizeMode = "SCALE TO FIT"
    item.PresentationPixelAspectRatio = image.display.get("PixelAspectRatio") or [1, 1]
    return item


def _annotation(source: ResultSource) -> Dataset:
    image = source.image
    return GraphicAnnotation(
        referenced_images=[as_instance(image)],
        graphic_layer=_LAYER,
        graphic_objects=[_outline(region.box.clipped(image.columns, image.rows)) for region in source.regions],
        text_objects=[_label(region, image) for region in source.regions],
    )


def _outline(box: Box) -> GraphicObject:
    """Return a closed polyline; 0\\0 is the corner of the first pixel (PS3.3 C.10.5.1.2)."""
    x0, y0, x1, y1 = box.as_tuple()
    return GraphicObject(
        graphic_type=GraphicTypeValues.POLYLINE,
        graphic_data=np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]),
        units=AnnotationUnitsValues.PIXEL,
    )


def _label(region: DetectedRegion, image: SourceImage) -> TextObject:
    """Return anatomy and score above the box, or inside where the box touches the upper edge."""
    box = region.box.clipped(image.columns, image.rows)
    text = f"{region.anatomy.short} {region.score:.2f}"
    height = max(image.rows, image.columns) * _LABEL_HEIGHT
    top = box.y0 - height if box.y0 >= height else box.y0
    return TextObject(
        text_value=text,
        units=AnnotationUnitsValues.PIXEL,
        bounding_box=(box.x0, top, box.x0 + len(text) * height * _LETTER_WIDTH, top + height),
        text_justification=TextJustificationValues.LEFT,
    )


def _set_grey_scale(state: Dataset, display: Dataset) -> None:
    """Copy the image's own grey scale: a presentation state without it means none (PS3.3 C.11.8)."""
    if "ModalityLUTSequence" in display:
        state.ModalityLUTSequence = display.ModalityLUTSequence
    elif "RescaleSlope" in display and "RescaleIntercept" in display:
        state.RescaleIntercept, state.RescaleSlope = display.RescaleIntercept, display.RescaleSlope
        state.RescaleType = display.get("RescaleType") or "US"
    voi = _voi(display)
    if voi is not None:
        state.SoftcopyVOILUTSequence = [voi]
    usual = "INVERSE" if display.PhotometricInterpretation == "MONOCHROME1" else "IDENTITY"
    stated = display.get("PresentationLUTShape")
    state.PresentationLUTShape = stated if stated in ("IDENTITY", "INVERSE") else usual


def _voi(display: Dataset) -> Dataset | None:
    """Return the first VOI LUT or window; the image's others are alternatives."""
    item = Dataset()
    if display.get("VOILUTSequence"):
        item.VOILUTSequence = display.VOILUTSequence[:1]
        return item
    if display.get("WindowCenter") is None or display.get("WindowWidth") is None:
        return None
    item.WindowCenter, item.WindowWidth = _first(display.WindowCenter), _first(display.WindowWidth)
    if display.get("VOILUTFunction"):
        item.VOILUTFunction = display.VOILUTFunction
    return item


def _first(value: object) -> object:
    return value[0] if isinstance(value, MultiValue) else value
