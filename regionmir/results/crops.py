"""Which hits' pixels may appear on another patient's result, and those pixels."""

from pydicom.dataset import Dataset

from regionmir.core.geometry import Box
from regionmir.pixels import draw
from regionmir.pixels.decode import DisplayValues, display_image
from regionmir.pixels.eligibility import SECONDARY_CAPTURES
from regionmir.pixels.quiet import quiet_pydicom


def region_crop(film: Dataset, box: Box) -> DisplayValues:
    """Return the display values of one region as viewed, none beyond it; `box` in stored pixels.

    Raises `NotIndexable` for pixels that cannot be read, `InvalidBox` for a box outside the image.
    """
    return draw.cropped(display_image(film), box).copy()


def shareable_crop(film: Dataset, box: Box) -> DisplayValues | None:
    """Return the region of a hit, None where text may be burned into its film (PS3.3 C.7.6.1.1.7)."""
    return region_crop(film, box) if _free_of_text(film) else None


def _free_of_text(film: Dataset) -> bool:
    """A secondary capture has to say NO; CR and DX, whose images come from a detector, must not say YES."""
    with quiet_pydicom():
        stated = str(film.get("BurnedInAnnotation") or "").strip().upper()
        captured = str(film.get("SOPClassUID")) in SECONDARY_CAPTURES
    return stated == "NO" if captured else stated != "YES"
