"""From the objects of a scene graph, or rows of the gold table, to at most one sound box for each anatomy."""

import csv
import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from statistics import median
from typing import Any

from models.data.noise import Noise, NoiseReport
from regionmir.core.anatomy import Anatomy, anatomies, anatomy_by_name
from regionmir.core.errors import InvalidBox, UnknownAnatomy
from regionmir.core.geometry import Box

FRAME = 224
"""Side of the second frame in which boxes are given: aspect kept, centred, padded with zeros."""
MIN_INSIDE = 0.25
"""A box with less of its area inside the image is left out; else the outside is cut off."""
OVER_MIDLINE = 0.05
"""The centre of a paired anatomy may lie this share of the width beyond the midline: patients are turned a little."""

_ORIGINAL = ("original_x1", "original_y1", "original_x2", "original_y2")
_FRAMED = ("x1", "y1", "x2", "y2")
_MIDLINE = ("spine", "trachea", "mediastinum", "upper mediastinum")
_SAME_PLACE_IOU = 0.3
_ENOUGH_TO_COMPARE = 4
_PIXELS: dict[float, float] = {}


def of_other_size(objects: Sequence[Mapping[str, Any]], width: int, height: int) -> bool:
    """Say whether boxes were drawn on an image of another size than `width` x `height` pixels.

    Their two frames then contradict each other: so it is with copies of the films that somebody made smaller.
    """
    agree = differ = 0
    for one in objects:
        same = _same_place(_corners(one, _ORIGINAL), _from_frame(_corners(one, _FRAMED), width, height))
        agree, differ = agree + (same is True), differ + (same is False)
    return differ > agree and differ >= _ENOUGH_TO_COMPARE


def clean_boxes(objects: Sequence[Mapping[str, Any]], width: int, height: int, noise: NoiseReport) -> dict[int, Box]:
    """Return the boxes of an image of `width` x `height` pixels by the anatomy's key; each fault is counted."""
    found: dict[int, Box] = {}
    for one in objects:
        anatomy = _anatomy(str(one.get("bbox_name", "")).strip(), noise)
        if anatomy is None:
            continue
        if anatomy.key in found:
            noise.add(Noise.SURPLUS_OBJECT)
            continue
        corners = _corners(one, _ORIGINAL)
        if corners is None:
            corners = _from_frame(_corners(one, _FRAMED), width, height)
            noise.add(Noise.NO_NUMBER if corners is None else Noise.FROM_224)
        box = None if corners is None else _inside(corners, width, height, noise)
        if box is not None:
            found[anatomy.key] = box
    return _on_their_side(found, width, noise)


@cache
def surplus_anatomies() -> frozenset[str]:
    """Return the names that the variant with 36 anatomies has beyond ours."""
    text = files("models.data.imagenome").joinpath("surplus_anatomies.csv").read_text(encoding="utf-8")
    return frozenset(line["anatomy"] for line in csv.DictReader(text.splitlines()))


def _anatomy(name: str, noise: NoiseReport) -> Anatomy | None:
    try:
        return anatomy_by_name(name)
    except UnknownAnatomy:
        noise.add(Noise.NO_SLOT if name in surplus_anatomies() else Noise.UNKNOWN_ANATOMY)
        return None


def _corners(one: Mapping[str, Any], keys: tuple[str, ...]) -> tuple[float, ...] | None:
    """Return four finite numbers, one object for equal ones; None where any is absent or no number."""
    try:
        values = tuple(float(one[key]) for key in keys)
    except (KeyError, TypeError, ValueError):
        return None
    return tuple(_PIXELS.setdefault(v, v) for v in values) if all(map(math.isfinite, values)) else None


def _from_frame(corners: tuple[float, ...] | None, width: int, height: int) -> tuple[float, ...] | None:
    """Return corners in image pixels: of the frame, ratio = max(W, H) / 224 and pad = (224 - side / ratio) / 2."""
    if corners is None:
        return None
    ratio = max(width, height) / FRAME
    pads = ((FRAME - width / ratio) / 2, (FRAME - height / ratio) / 2)
    return tuple((value - pads[i % 2]) * ratio for i, value in enumerate(corners))


def _same_place(original: tuple[float, ...] | None, framed: tuple[float, ...] | None) -> bool | None:
    """Say whether both frames mean the same box; None where that cannot be said."""
    if original is None or framed is None:
        return None
    try:
        return Box(*original).iou(Box(*framed)) >= _SAME_PLACE_IOU
    except InvalidBox:
        return None


def _inside(corners: tuple[float, ...], width: int, height: int, noise: NoiseReport) -> Box | None:
    try:
        box = Box(*corners)
    except InvalidBox:
        noise.add(Noise.NO_AREA)
        return None
    try:
        cut = box.clipped(width, height)
    except InvalidBox:
        noise.add(Noise.OUTSIDE)
        return None
    if cut.area < MIN_INSIDE * box.area:
        noise.add(Noise.OUTSIDE)
        return None
    if cut != box:
        noise.add(Noise.CUT)
    return cut


def _on_their_side(boxes: dict[int, Box], width: int, noise: NoiseReport) -> dict[int, Box]:
    """Return `boxes` without those of a paired anatomy that lie on the other side; the patient's right is at x = 0."""
    centres = [_centre(boxes[a.key]) for a in anatomies() if a.name in _MIDLINE and a.key in boxes]
    midline = median(centres) if centres else width / 2
    kept = {}
    for key, box in boxes.items():
        side = {"R": 1.0, "L": -1.0}.get(anatomies()[key - 1].laterality, 0.0)
        if side * (_centre(box) - midline) > OVER_MIDLINE * width:
            noise.add(Noise.WRONG_SIDE)
        else:
            kept[key] = box
    return kept


def _centre(box: Box) -> float:
    return (box.x0 + box.x1) / 2
