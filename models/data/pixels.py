"""Pixels of films: display values, their size without decoding, small pictures, and label maps."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from pydicom import dcmread

from models.data.errors import DataError
from models.data.films import Film
from regionmir.core.errors import NotIndexable
from regionmir.pixels.decode import DisplayImage, display_image
from regionmir.pixels.quiet import quiet_pydicom

Grey = npt.NDArray[np.float32]
"""Display values (H, W) in [0, 1]: 0 is shown black."""
LabelMap = npt.NDArray[np.uint8]

MASK_LABELS = {1: "right lung", 2: "left lung", 3: "cardiac silhouette"}
"""What the values of a label map mean; 0 is neither. A pixel has one label: where the heart was drawn, it is 3."""

_DEEP = ("I", "F")


def read_pixels(film: Film) -> Grey:
    """Return the display values (H, W) of `film` in [0, 1], of a DICOM object in the order in which they are stored.

    Raises `DataError` where they cannot be read or are not of the size that is listed.
    """
    grey = _dicom_values(film) if film.path.suffix == ".dcm" else _picture_values(film)
    if grey.shape != (film.height, film.width):
        size = f"{grey.shape[1]} x {grey.shape[0]}"
        raise DataError(film.path, f"is {size}, {film.listed or 'its list'} says {film.width} x {film.height}")
    return grey


def read_mask(film: Film) -> LabelMap:
    """Return the label map (H, W) of `film`, values as in `MASK_LABELS`.

    Raises `DataError` where there is none, it cannot be read, is of another size than the film, or has other labels.
    """
    if film.mask is None:
        raise DataError(film.path, "has no mask")
    try:
        with Image.open(film.mask) as opened:
            if opened.mode not in ("L", "P", "1"):
                raise DataError(film.mask, f"is a picture of mode {opened.mode}, not a label map of 8 bits")
            labels: LabelMap = np.asarray(opened, dtype=np.uint8)
    except (OSError, UnidentifiedImageError, ValueError) as error:
        raise DataError(film.mask, f"cannot be read as an image ({type(error).__name__})") from None
    if labels.shape != (film.height, film.width):
        size = f"{labels.shape[1]} x {labels.shape[0]}"
        raise DataError(film.mask, f"is {size}, its image ({film.listed}) {film.width} x {film.height}")
    if labels.max(initial=0) > max(MASK_LABELS):
        raise DataError(film.mask, f"has the label {labels.max()}; known are 0 to {max(MASK_LABELS)}")
    return labels


def image_size(path: Path, listed: str) -> tuple[int, int]:
    """Return (width, height) of an image file from its head. Raises `DataError`, naming also where it is `listed`."""
    try:
        if path.suffix == ".dcm":
            with quiet_pydicom():
                head = dcmread(path, stop_before_pixels=True, specific_tags=["Rows", "Columns"])
            return int(head.Columns), int(head.Rows)
        with Image.open(path) as opened:
            return opened.size
    except Exception as error:  # Pillow and pydicom raise many kinds for damaged files
        raise _unreadable(path, listed, error) from None


def small_picture(film: Film, side: int) -> Image.Image:
    """Return `film` as an 8-bit grey picture, decoded no finer than needed for `side` pixels.

    Raises `DataError` where it cannot be read.
    """
    if film.path.suffix == ".dcm":
        return Image.fromarray((_dicom_values(film) * 255).astype(np.uint8))
    try:
        with Image.open(film.path) as opened:
            opened.draft("L", (side, side))  # a JPEG is decoded at a fraction of its size
            return _eight_bits(film, opened)
    except (OSError, UnidentifiedImageError, ValueError) as error:
        raise _unreadable(film.path, film.listed, error) from None


def _picture_values(film: Film) -> Grey:
    try:
        with Image.open(film.path) as opened:
            return np.asarray(_eight_bits(film, opened), dtype=np.float32) / np.float32(255)
    except (OSError, UnidentifiedImageError, ValueError) as error:
        raise _unreadable(film.path, film.listed, error) from None


def _eight_bits(film: Film, opened: Image.Image) -> Image.Image:
    if opened.mode.startswith(_DEEP):  # Pillow would cut off what lies above 255
        raise DataError(film.path, f"has more than 8 bits (mode {opened.mode}): its display values are wanted")
    return opened.convert("L")


def _dicom_values(film: Film) -> Grey:
    try:
        return _as_stored(display_image(film.path))
    except (NotIndexable, OSError) as error:
        raise _unreadable(film.path, film.listed, error) from None


def _as_stored(image: DisplayImage) -> Grey:
    """Boxes of Chest ImaGenome are on the pixels as stored, which MIMIC-CXR-JPG has not turned either."""
    return np.ascontiguousarray(image.turn.undo(image.values))


def _unreadable(path: Path, listed: str, error: Exception) -> DataError:
    where = f", listed in {listed}" if listed else ""
    return DataError(path, f"cannot be read as an image ({type(error).__name__}{where})")
