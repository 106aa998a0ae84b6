"""Reading one film in the sandbox: attributes are judged, annotations read, pixels decoded and made small in a child.

Imported there too: nothing here needs database, model or torch. What a model reads of a film, and the film's rendition,
are made where it is decoded: only they cross to the worker, not the whole image.
"""

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from models.square import Image, Letterbox, Square, square
from regionmir import sandbox
from regionmir.core.anatomy import anatomy_by_key
from regionmir.core.geometry import Box
from regionmir.core.identifiers import Uid
from regionmir.pixels.decode import DisplayImage, display_image, read_dataset
from regionmir.pixels.eligibility import check_frontal_chest
from regionmir.pixels.guarded import image_of, image_values
from regionmir.pixels.orientation import Turn
from regionmir.pixels.rendition import rendition
from regionmir.query.annotations import ANNOTATIONS, AnnotatedRegion, read_annotation
from regionmir.sandbox import Answer


class Wanted(NamedTuple):
    """What is to be made of a film: the square of a model of this `side` (0: its display values), and a rendition."""

    side: int = 0
    rendition: bool = False


WHOLE = Wanted()
"""All display values, and no rendition."""


@dataclass(frozen=True, slots=True)
class Film:
    """A decoded radiograph as a model reads it; `view` is PA, AP or empty."""

    seen: Image | Square
    """Display values (H, W) in 0..1, or the square made from them."""
    pixel_sha256: str
    stored_size: tuple[int, int]
    """(rows, columns) of the stored image, before it was turned."""
    turn: Turn
    view: str
    rendition: bytes | None = None
    """Where one was wanted and could be drawn (`regionmir.pixels.rendition`)."""

    def to_stored(self, box: Box) -> Box:
        """Return a box of the displayed image in stored pixels."""
        return self.turn.to_stored(box, *self.stored_size)


def read_object(
    path: Path, sop_class_uid: str, max_pixels: int, wanted: Wanted = WHOLE
) -> Film | tuple[AnnotatedRegion, ...]:
    """Return the decoded film, or what an annotation marks. Attributes are judged before pixels are decoded.

    Raises `UnsupportedImage` for what is neither, `BrokenImage` for what cannot be decoded within the limits of the
    sandbox, and `OSError`.
    """
    answer = sandbox.shared().call(
        _read, path=str(path), sop_class_uid=sop_class_uid, max_pixels=max_pixels, wanted=wanted
    )
    if "marked" in answer.values:
        return tuple(map(_region, answer.values["marked"]))
    return _film(answer.values, memoryview(answer.content))


def _read(path: str, sop_class_uid: str, max_pixels: int, wanted: tuple[int, bool]) -> Answer:
    dataset = read_dataset(Path(path), max_pixels=max_pixels)
    if sop_class_uid in ANNOTATIONS:
        return Answer({"marked": [_region_values(one) for one in read_annotation(dataset)]})
    view = check_frontal_chest(dataset)
    image = display_image(dataset, max_pixels=max_pixels)
    side, is_drawn = wanted
    jpeg = _drawn(image) if is_drawn else b""
    if not side:
        return Answer({"view": view, "image": image_values(image)}, b"".join([image.values.data, jpeg]))
    made = square(image.values, side)
    values = {"view": view, "image": image_values(image), "square": [astuple(made.letterbox), made.blank, side]}
    return Answer(values, b"".join([made.values.data, jpeg]))


def _drawn(image: DisplayImage) -> bytes:
    """Return the rendition, empty where it cannot be drawn: a page tries again, or does without."""
    try:
        return rendition(image)
    except Exception:
        return b""


def _film(values: Mapping[str, Any], content: memoryview) -> Film:
    letterbox, blank, side = values.get("square", (None, False, 0))
    rows, columns = (side, side) if side else values["image"]["shape"]
    end = rows * columns * np.dtype(np.float32).itemsize
    image = image_of({**values["image"], "shape": (rows, columns)}, content[:end])
    seen = Square(image.values, Letterbox(*letterbox), blank) if side else image.values
    jpeg = bytes(content[end:]) or None
    return Film(seen, image.pixel_sha256, image.stored_size, image.turn, values["view"], jpeg)


def _region_values(region: AnnotatedRegion) -> list[Any]:
    return [
        region.sop_instance_uid,
        region.box and region.box.as_tuple(),
        region.anatomy and region.anatomy.key,
    ]


def _region(values: list[Any]) -> AnnotatedRegion:
    uid, box, key = values
    return AnnotatedRegion(Uid(uid), Box(*box) if box else None, anatomy_by_key(key) if key else None)
