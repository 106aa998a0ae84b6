"""One film of MIMIC-CXR with what Chest ImaGenome says of it, or the reason why there is none."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from models.data.films import Film
from models.data.imagenome.boxes import clean_boxes, of_other_size
from models.data.imagenome.images import MimicImages
from models.data.imagenome.splits import Listed
from models.data.imagenome.statements import Statement, region_findings
from models.data.noise import Noise, NoiseReport
from models.data.pixels import image_size
from regionmir.core.anatomy import Anatomy

SOURCE = "mimic-cxr"
AGE_GROUP = "adult"
"""MIMIC-CXR holds adults only."""


def mimic_film(
    listed: Listed,
    images: MimicImages,
    objects: Sequence[Mapping[str, Any]],
    statements: Iterable[Statement],
    *,
    split: str,
    origin: str,
    expected: Iterable[Anatomy],
    noise: NoiseReport,
) -> Film | None:
    """Return the film, or None where it is left out; either is counted. Raises `DataError` for an unreadable image.

    `finding` stays empty: what is known of regions stands in `findings`. `expected`: the anatomies a full film has.
    """
    path = images.path(listed.subject, listed.study, listed.dicom)
    if path is None:
        noise.add(Noise.NO_IMAGE)
        return None
    width, height = image_size(path, listed.where)
    if of_other_size(objects, width, height):
        noise.add(Noise.OTHER_SIZE)
        return None
    boxes = clean_boxes(objects, width, height, noise)
    if not boxes:
        noise.add(Noise.NO_BOX)
        return None
    if any(anatomy.key not in boxes for anatomy in expected):
        noise.add(Noise.NOT_ALL_ANATOMIES)
    return Film(
        name=listed.dicom,
        path=path,
        width=width,
        height=height,
        source=SOURCE,
        patient=listed.subject,
        finding="",
        age_group=AGE_GROUP,
        split=split,
        boxes=boxes,
        origins=_origins(tuple(boxes), origin),
        findings=region_findings(statements, noise),
        listed=listed.where,
    )


@cache
def _origins(keys: tuple[int, ...], origin: str) -> dict[int, str]:
    """Return one mapping for all films with boxes of the same anatomies: it is read, never written."""
    return dict.fromkeys(keys, origin)
