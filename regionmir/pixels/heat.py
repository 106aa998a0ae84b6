"""A map of few cells laid over a picture: where it is warm, the region speaks for the likeness, where cold, against.

Shape letters: H x W pixels of a crop, P cells along a side of a map.
"""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from regionmir.pixels.decode import DisplayValues

Cells = npt.NDArray[np.float32]

WARM, COLD = (255, 150, 30), (60, 130, 255)
_STRONGEST = 0.55
"""How much of the colour covers the picture where the map is 1 or -1."""


def heat_picture(crop: DisplayValues, cells: Cells) -> Image.Image:
    """Return `crop` (H, W) of display values in [0, 1] under the map `cells` (P, P) of -1..1, as an RGB picture.

    Raises `ValueError` where either is empty or not two-dimensional.
    """
    if crop.ndim != 2 or cells.ndim != 2 or 0 in (*crop.shape, *cells.shape):
        raise ValueError(f"a crop and a map are matrices, not arrays of shapes {crop.shape} and {cells.shape}")
    height, width = crop.shape
    smooth = Image.fromarray(cells.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    strength = np.clip(np.asarray(smooth), -1, 1)[..., None]  # (H, W, 1)
    colour = np.where(strength > 0, np.array(WARM), np.array(COLD)) / 255
    cover = np.abs(strength) * _STRONGEST
    mixed = np.clip(crop, 0, 1)[..., None] * (1 - cover) + colour * cover
    return Image.fromarray((mixed * 255 + 0.5).astype(np.uint8))


def heat_layer(cells: Cells, side: int) -> bytes:
    """Return the map `cells` (P, P) of -1..1 alone: a transparent PNG, `side` x `side` pixels, to lay over a region.

    Raises `ValueError` where it is empty or not two-dimensional.
    """
    if cells.ndim != 2 or 0 in cells.shape:
        raise ValueError(f"a map is a matrix, not an array of shape {cells.shape}")
    strength = np.asarray(Image.fromarray(cells.astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC))
    strength = np.clip(strength, -1, 1)
    layer = np.empty((side, side, 4), np.uint8)
    layer[..., :3] = np.where(strength[..., None] > 0, np.array(WARM, np.uint8), np.array(COLD, np.uint8))
    layer[..., 3] = np.abs(strength) * _STRONGEST * 255 + 0.5
    buffer = io.BytesIO()
    Image.fromarray(layer).save(buffer, "PNG")
    return buffer.getvalue()
