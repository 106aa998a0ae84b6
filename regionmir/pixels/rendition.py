"""A film's rendition: its display values as a small JPEG in stored orientation, and the small pictures cut from it.

Whether it was kept or is drawn now, every thumbnail comes from it, so that both look the same.
"""

from io import BytesIO
from typing import Final

import numpy as np
from PIL import Image

from regionmir.core.geometry import Box
from regionmir.pixels import draw
from regionmir.pixels.decode import PIPELINE_HASH, DisplayImage
from regionmir.pixels.orientation import Turn
from regionmir.pixels.rendered import Picture8

RENDITION_PX: Final = 720
"""Longer side. A costophrenic angle, the smallest region, has 97 pixels with its surroundings; a card is 96 high."""

_QUALITY: Final = 80
"""Of the JPEG: what is cut from it is scaled down, save the smallest regions."""

_FAST: Final = Image.Resampling.HAMMING
"""Scales whole films, each of them, in a third of the time that Lanczos takes."""

DRAWN_BY: Final = f"{PIPELINE_HASH} {RENDITION_PX} {_QUALITY}"
"""Names the way from stored values to a rendition: one that was kept under another name is drawn again."""


def rendition(image: DisplayImage) -> bytes:
    """Return the rendition of a film, a grey JPEG; a film that is smaller keeps its size."""
    picture = draw.grey(image.turn.undo(image.values))
    return draw.encoded(_within(picture, RENDITION_PX, _FAST), "JPEG", _QUALITY)


def whole_film(content: bytes, turn: Turn) -> bytes:
    """Return a rendition as viewed, a JPEG: itself where it was stored as it is viewed."""
    return content if turn == Turn() else draw.encoded(_turned(_opened(content), turn), "JPEG", _QUALITY)


def small_film(content: bytes, turn: Turn, size: int) -> bytes:
    """Return the film of a rendition as viewed, a JPEG whose longer side is `size` pixels at most."""
    picture = _reduced(content, size)
    return draw.encoded(_turned(_within(picture, size), turn), "JPEG")


def small_part(content: bytes, box: Box, rows: int, columns: int, turn: Turn, size: int) -> bytes:
    """Return what lies in `box`, as viewed, a JPEG whose longer side is `size` pixels at most.

    `box` is in pixels of the stored film, of `rows` x `columns`, and lies in it.
    """
    picture = _reduced(content, size, (box.width / columns, box.height / rows))
    x, y = picture.width / columns, picture.height / rows
    part = (box.x0 * x, box.y0 * y, box.x1 * x, box.y1 * y)
    width, height = part[2] - part[0], part[3] - part[1]
    scale = min(1.0, size / max(width, height))
    cut = (max(1, round(width * scale)), max(1, round(height * scale)))
    made = picture.resize(cut, Image.Resampling.LANCZOS, box=part, reducing_gap=3.0)
    return draw.encoded(_turned(made, turn), "JPEG")


def stored_values(content: bytes) -> Picture8:
    """Return the pixels (H, W) of a rendition, in stored orientation."""
    return np.asarray(_opened(content))


def _opened(content: bytes) -> Image.Image:
    return Image.open(BytesIO(content)).convert("L")


def _reduced(content: bytes, size: int, part: tuple[float, float] = (1.0, 1.0)) -> Image.Image:
    """Return a rendition decoded at a half, quarter or eighth of its size where that is enough: the longer side of
    `part` of its width and height still has `size` pixels."""
    picture = Image.open(BytesIO(content))
    scale = size / max(picture.width * part[0], picture.height * part[1])
    picture.draft("L", (max(1, int(picture.width * scale)), max(1, int(picture.height * scale))))
    return picture.convert("L")


def _within(picture: Image.Image, size: int, filter_: Image.Resampling = Image.Resampling.LANCZOS) -> Image.Image:
    return draw.fitted(picture, size, size, filter_) if max(picture.size) > size else picture


def _turned(picture: Image.Image, turn: Turn) -> Image.Image:
    return picture if turn == Turn() else Image.fromarray(np.ascontiguousarray(turn.apply(np.asarray(picture))))
