"""A split of films with all that the model says of them, as arrays.

Shape letters: N films, A anatomies (all 29), D length of a vector, S side of the model's input, T side of a thumbnail.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from models.data.films import Film, patient_key
from models.data.tensors import Progress, read_pixels
from models.evaluate.altered import blanked
from models.network import SLOTS
from models.preprocess import Prepared, prepare, stack
from models.region_model import Found, RegionModel, region_scores
from models.square import Letterbox
from regionmir.core.anatomy import anatomy_by_name
from regionmir.core.errors import InvalidBox
from regionmir.core.geometry import Box

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
BATCH = 16
THUMBNAIL = 32
LUNGS = tuple(anatomy_by_name(n).key - 1 for n in ("right lung", "left lung"))
"""The slots of both lungs."""


@dataclass(frozen=True, slots=True)
class Analysed:
    """Films and their analyses; boxes as fractions of the film's width and height."""

    films: tuple[Film, ...]
    patients: npt.NDArray[np.str_]
    findings: npt.NDArray[np.str_]
    groups: npt.NDArray[np.str_]
    """(N,): age groups"""
    pixel_sums: npt.NDArray[np.str_]
    """A hash of each film's prepared pixels: equal films are never each other's hit."""
    true_boxes: Floats
    """(N, A, 4); NaN where unknown"""
    boxes: Floats
    """(N, A, 4); NaN where not found"""
    input_boxes: Floats
    """(N, A, 4): the boxes found, in pixels of the model's input; NaN where not found"""
    scores: Floats
    """(N, A): score of each region, 0 where not found"""
    vectors: Floats
    """(N, A, D) of the boxes found"""
    frontal: Floats
    """(N,) score"""
    accepted: Bools
    """(N,)"""
    thumbnails: Floats
    """(N, T * T): the whole prepared film, mean taken off, unit length"""
    blanked_thumbnails: Floats
    """(N, T * T): the same with both lungs' boxes blanked"""

    def __len__(self) -> int:
        return len(self.films)

    @property
    def known(self) -> Bools:
        """(N, A): anatomies with a true box."""
        return ~np.isnan(self.true_boxes[..., 0])

    @property
    def found(self) -> Bools:
        """(N, A): anatomies that the model found."""
        return ~np.isnan(self.boxes[..., 0])

    def take(self, rows: npt.NDArray[np.int64]) -> "Analysed":
        """Return the films `rows`."""
        fields = {n: getattr(self, n)[rows] for n in self.__dataclass_fields__ if n != "films"}
        return replace(self, films=tuple(self.films[i] for i in rows), **fields)


def prepared_films(films: Sequence[Film], side: int, progress: Progress | None = None) -> Iterator[list[Prepared]]:
    """Yield `films` as the model sees them, in batches. Raises `DataError` where one cannot be read."""
    for start in range(0, len(films), BATCH):
        yield [prepare(read_pixels(f), side) for f in films[start : start + BATCH]]
        if progress:
            progress(min(start + BATCH, len(films)), len(films))


def analyse_films(model: RegionModel, films: Sequence[Film], progress: Progress | None = None) -> Analysed:
    """Return what `model` says of `films`. Raises `DataError` where one cannot be read."""
    parts: dict[str, list[np.ndarray[tuple[int, ...], np.dtype[np.generic]]]] = {}
    for batch in prepared_films(films, model.side, progress):
        for name, array in _arrays(model, batch, model.forward(stack(batch))).items():
            parts.setdefault(name, []).append(array)
    joined = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    return Analysed(
        films=tuple(films),
        patients=np.array([patient_key(f.patient) for f in films]),
        findings=np.array([f.finding for f in films]),
        groups=np.array([f.age_group for f in films]),
        true_boxes=np.stack([true_boxes(f) for f in films]),
        **joined,
    )


def true_boxes(film: Film) -> Floats:
    """Return the boxes (A, 4) of `film` as fractions of its size; NaN where unknown."""
    boxes = np.full((SLOTS, 4), np.nan, dtype=np.float32)
    for key, box in film.boxes.items():
        boxes[key - 1] = np.array(box.as_tuple()) / ((film.width, film.height) * 2)
    return boxes


def in_input_pixels(film: Film, boxes: Floats, side: int) -> Floats:
    """Return `boxes` (..., 4), fractions of the size of `film`, in pixels of the model's input."""
    box = Letterbox.of(film.width, film.height, side)
    scale, shift = np.array([box.width, box.height] * 2), np.array([box.left, box.top] * 2)
    found: Floats = (boxes * scale + shift).astype(np.float32)
    return found


def _arrays(
    model: RegionModel, prepared: Sequence[Prepared], found: Found
) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    shape = (len(prepared), SLOTS)
    boxes, inputs = (np.full((*shape, 4), np.nan, dtype=np.float32) for _ in range(2))
    frontal = np.zeros(len(prepared), dtype=np.float32)
    enabled = model.slots.tolist()
    for i, made in enumerate(prepared):
        frontal[i] = 0.0 if made.blank else model.acceptance.score(found.frontal[i], found.pooled[i])
        for slot in enabled:
            if float(found.presence[i, slot]) >= model.min_presence:
                boxes[i, slot] = _fractions(made.letterbox, found.boxes[i, slot].tolist())
    seen = ~np.isnan(boxes[..., 0])
    inputs[seen] = found.boxes.numpy()[seen]
    films = [blanked(p.values, p.letterbox, inputs[i, LUNGS, :]) for i, p in enumerate(prepared)]
    return {
        "boxes": boxes,
        "input_boxes": inputs,
        "scores": np.where(seen, region_scores(found).numpy(), 0).astype(np.float32),
        "vectors": found.vectors.numpy(),
        "frontal": frontal,
        "accepted": frontal >= model.acceptance.threshold,
        "pixel_sums": np.array([_pixel_sum(p) for p in prepared]),
        "thumbnails": _thumbnails(stack(prepared)),
        "blanked_thumbnails": _thumbnails(torch.stack(films)[:, None]),
    }


def _fractions(letterbox: Letterbox, corners: list[float]) -> Floats:
    width, height = letterbox.width / letterbox.scale_x, letterbox.height / letterbox.scale_y
    try:
        box = letterbox.to_image(Box(*corners)).clipped(width, height)
    except InvalidBox:
        return np.full(4, np.nan, dtype=np.float32)
    return np.array([box.x0 / width, box.y0 / height, box.x1 / width, box.y1 / height], dtype=np.float32)


def _thumbnails(images: Tensor) -> Floats:
    """Return images (B, 1, S, S) as unit vectors (B, T * T) without their mean."""
    small = F.interpolate(images, size=(THUMBNAIL, THUMBNAIL), mode="bilinear", antialias=True).flatten(1)
    made: Floats = F.normalize(small - small.mean(dim=1, keepdim=True), dim=1).numpy()
    return made


def _pixel_sum(made: Prepared) -> str:
    return hashlib.sha256((made.values * 255).round().to(torch.uint8).numpy().tobytes()).hexdigest()[:24]
