"""From display values to the square that a model reads, without torch: it is also made where films are decoded.

Shape letters: H x W pixels of one image, S side of the model's input.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from regionmir.core.geometry import Box

Image = npt.NDArray[np.float32]
"""Display values (H, W) in [0, 1]: 0 is shown black."""

PERCENTILES = (1.0, 99.0)
MIN_CONTRAST = 1e-3
MAX_STRETCH = 1.6
"""A film is stretched to a square up to this ratio of its sides; a longer one keeps a margin."""


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
class Square:
    """One image as a model sees it: `values` (S, S) in [0, 1]; `blank` where it has no contrast at all."""

    values: Image
    letterbox: Letterbox
    blank: bool


def square(image: Image, side: int) -> Square:
    """Return `image` in a square of `side` (see `Letterbox`), its 1st to 99th percentile stretched over [0, 1].

    Raises `ValueError` where it is not two-dimensional, is empty or holds values that are not finite.
    """
    if image.ndim != 2 or 0 in image.shape:
        raise ValueError(f"an image is a matrix of grey values, not an array of shape {image.shape}")
    box = Letterbox.of(image.shape[1], image.shape[0], side)
    source = Pillow.fromarray(np.ascontiguousarray(image, np.float32))
    inner = np.asarray(source.resize((box.width, box.height), Pillow.Resampling.BILINEAR))
    if not np.isfinite(inner).all():
        raise ValueError("an image holds values that are not finite")
    ordered = np.sort(inner, axis=None)
    low, high = (_percentile(ordered, share) for share in PERCENTILES)
    values = np.zeros((side, side), np.float32)
    stretched = values[box.top : box.top + box.height, box.left : box.left + box.width]
    np.subtract(inner, np.float32(low), out=stretched)
    stretched /= np.float32(max(high - low, MIN_CONTRAST))
    np.clip(stretched, 0, 1, out=stretched)
    return Square(values, box, high - low < MIN_CONTRAST)


def _percentile(ordered: npt.NDArray[np.float32], share: float) -> float:
    """Return what `numpy.percentile` does of values in their order: sorting takes less time than it does."""
    at = share / 100 * (len(ordered) - 1)
    below = int(at)
    one, next_ = ordered[below : below + 2].tolist() if below + 1 < len(ordered) else [float(ordered[below])] * 2
    return float(one + (next_ - one) * (at - below))
