"""Pillow's part: grey pictures of display values, boxes and labels on them, fonts."""

import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from regionmir.core.errors import InvalidBox
from regionmir.core.geometry import Box
from regionmir.pixels.decode import DisplayImage, DisplayValues

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

BACKGROUND: Colour = (16, 19, 24)
PANEL: Colour = (28, 33, 41)
TEXT: Colour = (236, 240, 245)
FAINT: Colour = (150, 160, 173)
QUERY: Colour = (72, 201, 232)
HIT: Colour = (255, 193, 77)
WARNING: Colour = (255, 139, 92)

Picture = DisplayImage | DisplayValues
"""A turned film, whose boxes are given in stored pixels, or an array, whose boxes are given in its own."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A box to draw, in stored pixels, with its label."""

    box: Box
    label: str = ""
    colour: Colour = HIT


@cache
def font(size: int) -> Font:
    """Return the typeface that Pillow brings along, in pixels of height."""
    return ImageFont.load_default(size)


def grey(values: DisplayValues) -> Image.Image:
    """Return an 8-bit picture of display values (H, W)."""
    scaled = np.clip(values, 0, 1)
    scaled *= np.float32(255)  # in place: a large film is not held three times
    scaled += np.float32(0.5)
    return Image.fromarray(scaled.astype(np.uint8))


def viewed(picture: Picture, box: Box) -> Box:
    """Return a box in the pixels that are seen."""
    return picture.from_stored(box) if isinstance(picture, DisplayImage) else box


def values_of(picture: Picture) -> DisplayValues:
    """Return the display values (H, W) of either kind of picture."""
    return picture.values if isinstance(picture, DisplayImage) else picture


def cropped(picture: Picture, box: Box) -> DisplayValues:
    """Return the pixels that `box` touches, and none beyond it. Raises `InvalidBox` where it lies outside."""
    values = values_of(picture)
    height, width = values.shape
    inside = viewed(picture, box).clipped(width, height)
    x0, y0, x1, y1 = int(inside.x0), int(inside.y0), int(np.ceil(inside.x1)), int(np.ceil(inside.y1))
    if x1 <= x0 or y1 <= y0:
        raise InvalidBox("box lies outside the image")
    return values[y0:y1, x0:x1]


def fitted(
    image: Image.Image, width: int, height: int, filter_: Image.Resampling = Image.Resampling.LANCZOS
) -> Image.Image:
    """Return `image` scaled, aspect kept, to the largest size within `width` x `height`."""
    scale = min(width / image.width, height / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, filter_, reducing_gap=3.0)


def draw_marks(image: Image.Image, marks: Sequence[tuple[Box, str, Colour]], line: int = 0) -> None:
    """Draw boxes, in pixels of `image` (RGB), `line` pixels wide (0: to its size), each with its label."""
    pen = ImageDraw.Draw(image)
    line = line or max(1, round(max(image.size) / 350))
    for box, label, colour in marks:
        corners = (round(box.x0), round(box.y0), max(round(box.x0), round(box.x1) - 1), round(box.y1) - 1)
        pen.rectangle((*corners[:3], max(corners[1], corners[3])), outline=colour, width=line)
        if label:
            size = max(11, round(max(image.size) / 55))
            y = corners[1] - size - 4 if corners[1] >= size + 4 else corners[1]
            tag(pen, (corners[0], y), label, size=size, fill=BACKGROUND, back=colour)


def tag(pen: ImageDraw.ImageDraw, at: tuple[float, float], text: str, *, size: int, fill: Colour, back: Colour) -> None:
    """Draw `text` on a plate whose upper left corner is `at`."""
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font(size), anchor="la")
    pen.rectangle((at[0], at[1], at[0] + right - left + 8, at[1] + max(bottom - top, size) + 4), fill=back)
    pen.text((at[0] + 4, at[1] + 2), text, font=font(size), fill=fill, anchor="la")


def shortened(pen: ImageDraw.ImageDraw, text: str, size: int, width: float) -> str:
    """Return `text`, cut with an ellipsis where it is wider than `width` pixels."""
    if pen.textlength(text, font=font(size)) <= width:
        return text
    while text and pen.textlength(text + "…", font=font(size)) > width:
        text = text[:-1]
    return text.rstrip() + "…"


def encoded(image: Image.Image, kind: Literal["PNG", "JPEG"] = "PNG", quality: int = 88) -> bytes:
    """Return the bytes of a PNG (fast compression) or of a JPEG of this quality."""
    buffer = io.BytesIO()
    if kind == "PNG":
        image.save(buffer, "PNG", compress_level=1, compress_type=zlib.Z_RLE)  # on films faster and smaller
    else:
        image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
