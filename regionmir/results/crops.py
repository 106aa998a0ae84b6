"""Which hits' pixels may appear on another patient's result, and those pixels."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from regionmir import sandbox
from regionmir.core.geometry import Box
from regionmir.pixels import draw
from regionmir.pixels.decode import DisplayValues, display_image, read_dataset
from regionmir.pixels.eligibility import SECONDARY_CAPTURES
from regionmir.pixels.quiet import quiet_pydicom
from regionmir.sandbox import Answer


def stored_crop(path: Path, box: Box, *, of_hit: bool, max_pixels: int) -> DisplayValues | None:
    """Return the region of a stored film, cut in the sandbox; None for a hit whose region may not be shared.

    Raises `NotIndexable`, `InvalidBox` and `OSError`.
    """
    answer = sandbox.shared().call(
        _stored_crop, path=str(path), box=box.as_tuple(), of_hit=of_hit, max_pixels=max_pixels
    )
    if not answer.content:
        return None
    return np.frombuffer(answer.content, np.float32).reshape(answer.values["shape"])


def _stored_crop(path: str, box: list[float], of_hit: bool, max_pixels: int) -> Answer:
    film = read_dataset(Path(path), max_pixels=max_pixels)
    crop = shareable_crop(film, Box(*box)) if of_hit else region_crop(film, Box(*box))
    return Answer() if crop is None else Answer({"shape": crop.shape}, np.ascontiguousarray(crop).data)


def region_crop(film: Dataset, box: Box) -> DisplayValues:
    """Return the display values of one region as viewed, none beyond it; `box` in stored pixels.

    Raises `NotIndexable` for pixels that cannot be read, `InvalidBox` for a box outside the image.
    """
    return draw.cropped(display_image(film), box).copy()


def shareable_crop(film: Dataset, box: Box) -> DisplayValues | None:
    """Return the region of a hit, None where text may be burned into its film (PS3.3 C.7.6.1.1.7)."""
    return region_crop(film, box) if _free_of_text(film) else None


def _free_of_text(film: Dataset) -> bool:
    """A secondary capture has to say NO; CR and DX, whose images come from a detector, NO or nothing."""
    with quiet_pydicom():
        stated = str(film.get("BurnedInAnnotation") or "").strip().upper()
        captured = str(film.get("SOPClassUID")) in SECONDARY_CAPTURES
    return stated == "NO" or (not stated and not captured)
