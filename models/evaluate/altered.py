"""Films altered to see what an answer hangs on: a region blanked, another film pasted, the film cut, a region cut out.

Boxes (4,) are in pixels of the array they are used on, and may be NaN: then nothing is done. S is the side of the
model's input.
"""

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.square import Letterbox

Floats = npt.NDArray[np.float32]


def blanked(film: Tensor, letterbox: Letterbox, boxes: Floats) -> Tensor:
    """Return the prepared `film` (S, S) with `boxes` (R, 4) filled with the median grey of the film outside them.

    So no pixel of the boxes is left, nor anything computed from one.
    """
    made, outside = film.clone(), torch.zeros_like(film, dtype=torch.bool)
    outside[letterbox.top : letterbox.top + letterbox.height, letterbox.left : letterbox.left + letterbox.width] = True
    where = [cells(box, film.shape[-1]) for box in boxes]
    for part in where:
        outside[part] = False
    grey = film[outside].median() if bool(outside.any()) else torch.tensor(0.5)
    for part in where:
        made[part] = grey
    return made


def pasted_outside(film: Tensor, other: Tensor, box: Floats) -> Tensor:
    """Return the prepared `other` film (S, S) with the `box` of `film` in its place."""
    made, inside = other.clone(), cells(box, film.shape[-1])
    made[inside] = film[inside]
    return made


def pasted_inside(film: Tensor, other: Tensor, box: Floats) -> Tensor:
    """Return the prepared `film` (S, S) with the `box` of the `other` film in its place."""
    return pasted_outside(other, film, box)


def alone(values: Tensor, box: Floats) -> tuple[Tensor, Floats]:
    """Return the `box` (4,) of a prepared film (S, S) laid in the middle of a black one, and where it lies now.

    No position and no surroundings are left, only the region's own pixels at their own scale.
    """
    side = values.shape[-1]
    part = values[cells(box, side)]
    height, width = part.shape
    top, left = (side - height) // 2, (side - width) // 2
    made = torch.zeros_like(values)
    made[top : top + height, left : left + width] = part
    return made, np.array([left, top, left + width, top + height], dtype=np.float32)


def cells(box: Floats, width: int, height: int | None = None) -> tuple[slice, slice]:
    """Return rows and columns that `box` touches in an array of `width` x `height` (default: square)."""
    if bool(np.isnan(box).any()):
        return slice(0), slice(0)
    x0, y0, x1, y1 = (float(v) for v in box)
    rows = slice(max(0, math.floor(y0)), max(0, min(math.ceil(y1), height or width)))
    return rows, slice(max(0, math.floor(x0)), max(0, min(math.ceil(x1), width)))


def as_input(images: list[Tensor]) -> Tensor:
    """Return images (S, S) as the model's input (B, 1, S, S)."""
    return torch.stack(images)[:, None]
