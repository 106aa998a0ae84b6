"""From display values to the model's square input, with the way back for boxes.

Shape letters: B images, H x W pixels of one image, S side of the model's input.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from regionmir.core.geometry import Box

Image = npt.NDArray[np.float32]
"""Display values (H, W) in [0, 1]: 0 is shown black."""

PERCENTILES = (1.0, 99.0)
MIN_CONTRAST = 1e-3
MAX_STRETCH = 1.6
"""A film is stretched to a square up to this ratio of its sides; a longer one keeps a margin."""
_VERSION = 2


def preprocessing_hash(side: int) -> str:
    """Return what identifies this preprocessing: embeddings made under another hash must not be compared."""
    recipe = {"version": _VERSION, "side": side, "percentiles": PERCENTILES, "max_stretch": MAX_STRETCH}
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Letterbox:
    """The map from image pixels to input pixels: x' = x * scale_x + left, y' = y * scale_y + top."""

    scale_x: float
    scale_y: float
    left: int
    top: int
    width: int
    height: int
    """Size of the film inside the square input."""

    @classmethod
    def of(cls, width: int, height: int, side: int) -> "Letterbox":
        """Return where an image of `width` x `height` pixels stands, centred, in a square of `side`.

        Many archives hold films squashed to a square; a film that has kept its shape is made like them.
        """
        inner_w = max(1, round(side * min(1.0, width * MAX_STRETCH / height)))
        inner_h = max(1, round(side * min(1.0, height * MAX_STRETCH / width)))
        left, top = (side - inner_w) // 2, (side - inner_h) // 2
        return cls(inner_w / width, inner_h / height, left, top, inner_w, inner_h)

    def to_input(self, box: Box) -> Box:
        """Return `box` of the image in input pixels."""
        x0, y0, x1, y1 = box.as_tuple()
        sx, sy = self.scale_x, self.scale_y
        return Box(x0 * sx + self.left, y0 * sy + self.top, x1 * sx + self.left, y1 * sy + self.top)

    def to_image(self, box: Box) -> Box:
        """Return `box` of the input in image pixels."""
        x0, y0, x1, y1 = box.as_tuple()
        sx, sy = self.scale_x, self.scale_y
        return Box((x0 - self.left) / sx, (y0 - self.top) / sy, (x1 - self.left) / sx, (y1 - self.top) / sy)


@dataclass(frozen=True, slots=True)
class Prepared:
    """One image as the model sees it: `values` (S, S) in [0, 1]; `blank` where it has no contrast at all."""

    values: Tensor
    letterbox: Letterbox
    blank: bool


def prepare(image: Image, side: int) -> Prepared:
    """Return `image` in a square of `side` (see `Letterbox`), its 1st to 99th percentile stretched over [0, 1].

    Raises `ValueError` where it is not two-dimensional, is empty or holds values that are not finite.
    """
    if image.ndim != 2 or 0 in image.shape:
        raise ValueError(f"an image is a matrix of grey values, not an array of shape {image.shape}")
    box = Letterbox.of(image.shape[1], image.shape[0], side)
    source = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))[None, None]
    inner = F.interpolate(source, size=(box.height, box.width), mode="bilinear", antialias=True)[0, 0]
    if not bool(torch.isfinite(inner).all()):
        raise ValueError("an image holds values that are not finite")
    low, high = np.percentile(inner.numpy(), PERCENTILES)
    blank = bool(high - low < MIN_CONTRAST)
    values = torch.zeros(side, side)
    stretched = ((inner - float(low)) / max(float(high - low), MIN_CONTRAST)).clamp(0, 1)
    values[box.top : box.top + box.height, box.left : box.left + box.width] = stretched
    return Prepared(values, box, blank)


def inverted(made: Prepared) -> Prepared:
    """Return the same film with black and white exchanged; the letterbox's margin stays black."""
    box, values = made.letterbox, torch.zeros_like(made.values)
    inner = (slice(box.top, box.top + box.height), slice(box.left, box.left + box.width))
    values[inner] = 1 - made.values[inner]
    return Prepared(values, box, made.blank)


def stack(prepared: Sequence[Prepared]) -> Tensor:
    """Return the model's input (B, 1, S, S)."""
    return torch.stack([p.values for p in prepared])[:, None]
