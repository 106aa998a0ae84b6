"""Reading one film in the sandbox: attributes are judged, annotations read and pixels decoded in a child process.

Imported there too: nothing here needs database or model.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regionmir import sandbox
from regionmir.core.anatomy import anatomy_by_key
from regionmir.core.geometry import Box
from regionmir.core.identifiers import Uid
from regionmir.pixels.decode import DisplayImage, display_image, read_dataset
from regionmir.pixels.eligibility import check_frontal_chest
from regionmir.pixels.guarded import image_of, image_values
from regionmir.query.annotations import ANNOTATIONS, AnnotatedRegion, read_annotation
from regionmir.sandbox import Answer


@dataclass(frozen=True, slots=True)
class Film:
    """A decoded radiograph; `view` is PA, AP or empty."""

    image: DisplayImage
    view: str
    rendition: bytes | None = None
    """Of the image, where it was drawn (`regionmir.pixels.rendition`)."""


def read_object(path: Path, sop_class_uid: str, max_pixels: int) -> Film | tuple[AnnotatedRegion, ...]:
    """Return the decoded film, or what an annotation marks. Attributes are judged before pixels are decoded.

    Raises `UnsupportedImage` for what is neither, `BrokenImage` for what cannot be decoded within the limits of the
    sandbox, and `OSError`.
    """
    answer = sandbox.shared().call(_read, path=str(path), sop_class_uid=sop_class_uid, max_pixels=max_pixels)
    if "marked" in answer.values:
        return tuple(map(_region, answer.values["marked"]))
    return Film(image_of(answer.values["image"], answer.content), answer.values["view"])


def _read(path: str, sop_class_uid: str, max_pixels: int) -> Answer:
    dataset = read_dataset(Path(path), max_pixels=max_pixels)
    if sop_class_uid in ANNOTATIONS:
        return Answer({"marked": [_region_values(one) for one in read_annotation(dataset)]})
    view = check_frontal_chest(dataset)
    image = display_image(dataset, max_pixels=max_pixels)
    return Answer({"view": view, "image": image_values(image)}, image.values.data)


def _region_values(region: AnnotatedRegion) -> list[Any]:
    return [
        region.sop_instance_uid,
        region.box and region.box.as_tuple(),
        region.anatomy and region.anatomy.key,
    ]


def _region(values: list[Any]) -> AnnotatedRegion:
    uid, box, key = values
    return AnnotatedRegion(Uid(uid), Box(*box) if box else None, anatomy_by_key(key) if key else None)
