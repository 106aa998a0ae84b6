"""One frame as a picture in stored orientation, with a window of the asker's choice."""

import io
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom.dataset import Dataset

from regionmir.core.errors import BrokenImage
from regionmir.core.geometry import Box
from regionmir.pixels.decode import decode_frame, frame_display_values
from regionmir.pixels.display import Window
from regionmir.pixels.layout import DEFAULT_MAX_PIXELS, read_layout
from regionmir.pixels.quiet import broken_as

Picture8 = npt.NDArray[np.uint8]
"""(H, W) grey or (H, W, 3) RGB."""

NO_SUCH_FRAME = "no such frame"


def frame_values(
    dataset: Dataset, index: int, window: Window | None = None, *, max_pixels: int = DEFAULT_MAX_PIXELS
) -> Picture8:
    """Return a frame (from 0) as it is displayed, not turned; `window` takes the place of what the instance says.

    Raises `UnsupportedImage`, or `BrokenImage` also where there is no such frame.
    """
    with broken_as("attributes unreadable"):
        layout = read_layout(dataset, max_pixels)
        if not 0 <= index < layout.frames:
            raise BrokenImage(NO_SUCH_FRAME)
        stored = decode_frame(dataset, layout, index)
        if layout.samples == 3:
            top = 2**layout.bits_stored - 1
            return (stored.astype(np.float32) * np.float32(255 / top) + np.float32(0.5)).astype(np.uint8)
        values = frame_display_values(dataset, layout, stored, window)
    return (np.clip(values, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)


def encoded_picture(
    values: Picture8, kind: Literal["JPEG", "PNG"], source: Box | None, size: tuple[int, int] | None, quality: int
) -> bytes:
    """Return a JPEG or PNG of `source` (all without one), scaled to fit into `size`. Raises `InvalidBox`."""
    picture = Image.fromarray(values)
    if source is not None:
        inside = source.clipped(picture.width, picture.height)
        picture = picture.crop((int(inside.x0), int(inside.y0), int(np.ceil(inside.x1)), int(np.ceil(inside.y1))))
    if size is not None:
        scale = min(size[0] / picture.width, size[1] / picture.height)
        fitted = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(fitted, Image.Resampling.LANCZOS, reducing_gap=2.0)
    out = io.BytesIO()
    options = {"quality": quality} if kind == "JPEG" else {"compress_level": 1}
    picture.save(out, kind, **options)
    return out.getvalue()
