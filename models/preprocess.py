"""The square inputs of a model (`models.square`) as tensors, and what identifies how they are made.

Shape letters: B images, S side of the model's input.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.square import MAX_STRETCH, PERCENTILES, Image, Letterbox, Square, square

_VERSION = 2


def preprocessing_hash(side: int) -> str:
    """Return what identifies this preprocessing: embeddings made under another hash must not be compared."""
    recipe = {"version": _VERSION, "side": side, "percentiles": PERCENTILES, "max_stretch": MAX_STRETCH}
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Prepared:
    """One image as the model sees it: `values` (S, S) in [0, 1]; `blank` where it has no contrast at all."""

    values: Tensor
    letterbox: Letterbox
    blank: bool

    @classmethod
    def of(cls, made: Square) -> "Prepared":
        """Return a square as a tensor, which shares its memory."""
        return cls(torch.from_numpy(made.values), made.letterbox, made.blank)


def prepare(image: Image, side: int) -> Prepared:
    """Return `image` in a square of `side`; see `models.square.square`, also for what is raised."""
    return Prepared.of(square(image, side))


def inverted(made: Prepared) -> Prepared:
    """Return the same film with black and white exchanged; the letterbox's margin stays black."""
    box, values = made.letterbox, torch.zeros_like(made.values)
    inner = (slice(box.top, box.top + box.height), slice(box.left, box.left + box.width))
    values[inner] = 1 - made.values[inner]
    return Prepared(values, box, made.blank)


def stack(prepared: Sequence[Prepared]) -> Tensor:
    """Return the model's input (B, 1, S, S)."""
    return torch.stack([p.values for p in prepared])[:, None]
