"""Annotations that arrive as objects (way C): the regions or key images in a TID 1500 report, a GSPS or a KOS.

A box is the rectangle around what was drawn, in pixels of the referenced image: SCOORD (PS3.3 C.18.6.1.1) and graphics
in PIXEL units (C.10.5.1.1) both count from the top left corner of the image, as our boxes do.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset

from regionmir.core.anatomy import SIDES, Anatomy, anatomies_by_code
from regionmir.core.errors import InvalidBox, InvalidUid, UnsupportedImage
from regionmir.core.geometry import Box
from regionmir.core.identifiers import Uid, parse_uid
from regionmir.pixels.quiet import quiet_pydicom

GSPS: Final = "1.2.840.10008.5.1.4.1.1.11.1"
KOS: Final = "1.2.840.10008.5.1.4.1.1.88.59"
REPORTS: Final = frozenset(f"1.2.840.10008.5.1.4.1.1.88.{n}" for n in (22, 33, 34))
"""Enhanced, Comprehensive and Comprehensive 3D SR."""
ANNOTATIONS: Final = REPORTS | {GSPS, KOS}

MAX_REGIONS: Final = 8
"""Regions of one object that become queries; a report with more is a study of its own."""

_FINDING_SITES = frozenset({("SCT", "363698007"), ("SRT", "G-C0E3")})
_LATERALITIES = frozenset({("SCT", "272741003"), ("SRT", "G-C171")})
_AREAS = frozenset({"POLYLINE", "INTERPOLATED", "CIRCLE", "ELLIPSE", "RECTANGLE"})
_FEWEST_POINTS = 4  # two are a length, three an angle; an ellipse has the four ends of its axes
_OUR_NAME = "RegionMIR"
_MAX_DEPTH = 32


@dataclass(frozen=True, slots=True)
class AnnotatedRegion:
    """What was marked: a box in an image, or with `box` None the image; `anatomy` None is not said."""

    sop_instance_uid: Uid
    box: Box | None = None
    anatomy: Anatomy | None = None


def read_annotation(dataset: Dataset) -> tuple[AnnotatedRegion, ...]:
    """Return what an annotation marks, each once, `MAX_REGIONS` at most.

    Raises `UnsupportedImage` where it marks nothing that a query can start from, and for what we made ourselves.
    """
    with quiet_pydicom():
        try:
            if str(dataset.get("Manufacturer", "")) == _OUR_NAME:
                raise UnsupportedImage("own_copy")
            found = tuple(dict.fromkeys(_regions(dataset)))
        except UnsupportedImage:
            raise
        except Exception as error:  # pydicom raises many kinds for values that are not what their VR says
            raise UnsupportedImage("annotation cannot be read", type(error).__name__) from None
    if not found:
        raise UnsupportedImage("annotation without a region or key image")
    return found[:MAX_REGIONS]


def _regions(dataset: Dataset) -> Iterator[AnnotatedRegion]:
    sop_class = str(dataset.SOPClassUID)
    if sop_class == GSPS:
        return _drawn(dataset)
    if sop_class == KOS:
        return (AnnotatedRegion(uid) for item in dataset.get("ContentSequence", []) for uid in _images(item))
    return _measured(dataset, None, 0)


def _measured(item: Dataset, anatomy: Anatomy | None, depth: int) -> Iterator[AnnotatedRegion]:
    """Give the SCOORDs of a report; an item's finding site counts for all that it contains (TID 1410)."""
    if depth > _MAX_DEPTH:
        raise UnsupportedImage("annotation nested too deeply")
    content = item.get("ContentSequence", [])
    anatomy = next(filter(None, map(_finding_site, content)), anatomy)
    if item.get("ValueType") == "SCOORD":
        box = _around(_points(item.get("GraphicData")), str(item.get("GraphicType", "")))
        if box is not None:
            yield from (AnnotatedRegion(uid, box, anatomy) for part in content for uid in _images(part))
    for part in content:
        yield from _measured(part, anatomy, depth + 1)


def _finding_site(item: Dataset) -> Anatomy | None:
    if item.get("ValueType") != "CODE" or _code(item, "ConceptNameCodeSequence") not in _FINDING_SITES:
        return None
    scheme, value = _code(item, "ConceptCodeSequence")
    sides = [
        SIDES.get(_code(part, "ConceptCodeSequence"), "")
        for part in item.get("ContentSequence", [])
        if _code(part, "ConceptNameCodeSequence") in _LATERALITIES
    ]
    found = anatomies_by_code(value, scheme, sides[0] if sides else "")
    return found[0] if len(found) == 1 else None


def _drawn(dataset: Dataset) -> Iterator[AnnotatedRegion]:
    """Give the closed shapes of a presentation state in each image that they are drawn on."""
    everywhere = [
        image
        for series in dataset.get("ReferencedSeriesSequence", [])
        for image in series.get("ReferencedImageSequence", [])
    ]
    for layer in dataset.get("GraphicAnnotationSequence", []):
        images = layer.get("ReferencedImageSequence", []) or everywhere
        for shape in (*layer.get("GraphicObjectSequence", []), *layer.get("CompoundGraphicSequence", [])):
            units = shape.get("GraphicAnnotationUnits") or shape.get("CompoundGraphicUnits")
            if units != "PIXEL":
                raise UnsupportedImage("annotation not in pixels of the image")
            kind = str(shape.get("GraphicType") or shape.get("CompoundGraphicType") or "")
            box = _around(_points(shape.get("GraphicData")), kind)
            if box is not None:
                yield from (AnnotatedRegion(_uid(image), box) for image in images)


def _around(points: Sequence[tuple[float, float]], kind: str) -> Box | None:
    """Return the rectangle around a shape, None for a point, a line and what has no area."""
    if kind == "CIRCLE" and len(points) == 2:
        (x, y), (u, v) = points
        radius = ((x - u) ** 2 + (y - v) ** 2) ** 0.5
        points = [(x - radius, y - radius), (x + radius, y + radius)]
    elif len(points) < _FEWEST_POINTS or kind not in _AREAS:
        return None
    try:
        columns, rows = zip(*points, strict=True)
        return Box(min(columns), min(rows), max(columns), max(rows))
    except (ValueError, InvalidBox):
        return None


def _points(data: object) -> list[tuple[float, float]]:
    values = [float(value) for value in data] if isinstance(data, Sequence) or hasattr(data, "__iter__") else []
    return list(zip(values[::2], values[1::2], strict=False))


def _images(item: Dataset) -> Iterator[Uid]:
    if item.get("ValueType") == "IMAGE":
        yield from (_uid(reference) for reference in item.get("ReferencedSOPSequence", []))


def _uid(reference: Dataset) -> Uid:
    try:
        return parse_uid(str(reference.get("ReferencedSOPInstanceUID", "")))
    except InvalidUid:
        raise UnsupportedImage("annotation refers to no instance") from None


def _code(item: Dataset, keyword: str) -> tuple[str, str]:
    codes = item.get(keyword, [])
    return (str(codes[0].get("CodingSchemeDesignator", "")), str(codes[0].get("CodeValue", ""))) if codes else ("", "")
