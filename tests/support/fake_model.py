"""A model without a network: boxes at fixed places, vectors from the means of blocks of the crop."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import numpy.typing as npt

from regionmir.core.anatomy import Anatomy, anatomy_by_short
from regionmir.core.geometry import Box
from regionmir.core.records import DetectedRegion, EmbeddedRegion, GenerationInfo

DIM = 32
PLACES = {
    "RL": (0.10, 0.12, 0.46, 0.82),
    "RULZ": (0.14, 0.12, 0.46, 0.36),
    "RMLZ": (0.12, 0.36, 0.46, 0.58),
    "RLLZ": (0.10, 0.58, 0.46, 0.82),
    "LL": (0.54, 0.12, 0.90, 0.82),
    "LLLZ": (0.54, 0.58, 0.90, 0.82),
    "CARD": (0.40, 0.45, 0.75, 0.80),
}
"""Where each region lies, as fractions of width and height: x0, y0, x1, y1."""


@dataclass(frozen=True, slots=True)
class FakeAnalysis:
    accepted: bool
    frontal_score: float
    reason: str
    regions: tuple[EmbeddedRegion, ...]


Side = tuple[npt.NDArray[np.float32], Box]


@dataclass(frozen=True, slots=True)
class FakeMaps:
    query: npt.NDArray[np.float32]
    hit: npt.NDArray[np.float32]


class FakeModel:
    """Accepts every image that is not nearly uniform. The same image gives the same regions, always.

    Another `name` is another generation; `dim` is a multiple of 8. `pass_s` makes a forward pass take a time; an image
    darker than `breaks_below` makes the pass raise; `passes` holds the number of images of each pass.
    """

    side = 0
    """Sees display values of every size."""

    def __init__(self, *, name: str = "fake", dim: int = DIM, pass_s: float = 0.0, breaks_below: float = -1.0) -> None:
        weights = "0" * 64 if name == "fake" else sha256(name.encode()).hexdigest()
        self.info = GenerationInfo(
            name, "1", weights, dim, "0" * 64, tuple(anatomy_by_short(short) for short in PLACES)
        )
        self.passes: list[int] = []
        self._pass_s = pass_s
        self._breaks_below = breaks_below

    def analyse(self, images: Sequence[npt.NDArray[np.float32]]) -> list[FakeAnalysis]:
        self.passes.append(len(images))
        time.sleep(self._pass_s)
        if any(float(image.mean()) < self._breaks_below for image in images):
            raise ValueError("this image breaks the forward pass")
        return [_analysis(image, self.info.dim) for image in images]

    def embed_boxes(
        self, image: npt.NDArray[np.float32], boxes: Sequence[Box], anatomies: Sequence[Anatomy]
    ) -> npt.NDArray[np.float32]:
        return np.stack([_vector(image, box, self.info.dim) for box in boxes])

    def explain(self, query: Side, hit: Side, anatomy: Anatomy) -> FakeMaps:
        """Return maps (4, 4) that rise from corner to corner, of the hit the other way round."""
        rising = np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 4)
        return FakeMaps(rising, -rising)


def _analysis(image: npt.NDArray[np.float32], dim: int) -> FakeAnalysis:
    if float(image.std()) < 0.01:
        return FakeAnalysis(False, 0.0, "uniform", ())
    return FakeAnalysis(True, 1.0, "", tuple(_region(image, short, dim) for short in PLACES))


def _region(image: npt.NDArray[np.float32], short: str, dim: int) -> EmbeddedRegion:
    height, width = image.shape
    x0, y0, x1, y1 = PLACES[short]
    box = Box(x0 * width, y0 * height, x1 * width, y1 * height)
    return EmbeddedRegion(DetectedRegion(anatomy_by_short(short), box, 0.9), _vector(image, box, dim))


def _vector(image: npt.NDArray[np.float32], box: Box, dim: int) -> npt.NDArray[np.float32]:
    crop = image[int(box.y0) : int(np.ceil(box.y1)), int(box.x0) : int(np.ceil(box.x1))]
    blocks = [part.mean() for row in np.array_split(crop, 8) for part in np.array_split(row, dim // 8, axis=1)]
    vector = np.asarray(blocks, np.float32)
    vector -= vector.mean()
    vector /= max(float(np.linalg.norm(vector)), 1e-6)
    return vector
