"""A split of films with all that the model says of them, as arrays.

Shape letters: N films, A anatomies (all 29), D length of a vector.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from models.data.films import Film, patient_key
from models.data.tensors import Progress, read_pixels
from models.network import SLOTS
from models.preprocess import Letterbox, Prepared, prepare, stack
from models.region_model import Found, RegionModel
from regionmir.core.errors import InvalidBox
from regionmir.core.geometry import Box

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
_BATCH = 16


@dataclass(frozen=True, slots=True)
class Analysed:
    """Films and their analyses; boxes as fractions of the film's width and height."""

    films: tuple[Film, ...]
    patients: npt.NDArray[np.str_]
    findings: npt.NDArray[np.str_]
    groups: npt.NDArray[np.str_]
    pixel_sums: npt.NDArray[np.str_]
    """A hash of each film's prepared pixels: equal films are never each other's hit."""
    true_boxes: Floats
    """(N, A, 4); NaN where unknown"""
    boxes: Floats
    """(N, A, 4); NaN where not found"""
    vectors: Floats
    """(N, A, D) of the boxes found"""
    anatomy_guess: npt.NDArray[np.int64]
    """(N, A): the anatomy that the embedder names for each true box; -1 where unknown"""
    frontal: Floats
    """(N,) score"""
    accepted: Bools
    """(N,)"""

    @property
    def known(self) -> Bools:
        """(N, A): anatomies with a true box."""
        return ~np.isnan(self.true_boxes[..., 0])

    @property
    def found(self) -> Bools:
        """(N, A): anatomies that the model found."""
        return ~np.isnan(self.boxes[..., 0])


def analyse_films(model: RegionModel, films: Sequence[Film], progress: Progress | None = None) -> Analysed:
    """Return what `model` says of `films`. Raises `DataError` where one cannot be read."""
    parts: dict[str, list[np.ndarray[tuple[int, ...], np.dtype[np.generic]]]] = {}
    sums: list[str] = []
    for start in range(0, len(films), _BATCH):
        chosen = films[start : start + _BATCH]
        prepared = [prepare(read_pixels(f), model.side) for f in chosen]
        found = model.forward(stack(prepared))
        sums += [_pixel_sum(p) for p in prepared]
        for name, array in _arrays(model, chosen, prepared, found).items():
            parts.setdefault(name, []).append(array)
        if progress:
            progress(min(start + _BATCH, len(films)), len(films))
    joined = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    return Analysed(
        films=tuple(films),
        patients=np.array([patient_key(f.patient) for f in films]),
        findings=np.array([f.finding for f in films]),
        groups=np.array([f.age_group for f in films]),
        pixel_sums=np.array(sums),
        **joined,
    )


def _arrays(
    model: RegionModel, films: Sequence[Film], prepared: Sequence[Prepared], found: Found
) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    true = np.full((len(films), SLOTS, 4), np.nan, dtype=np.float32)
    boxes, scores = np.full_like(true, np.nan), np.zeros(len(films), dtype=np.float32)
    enabled = model.slots.tolist()
    for i, (film, made) in enumerate(zip(films, prepared, strict=True)):
        for key, box in film.boxes.items():
            true[i, key - 1] = np.array(box.as_tuple()) / ((film.width, film.height) * 2)
        scores[i] = 0.0 if made.blank else model.acceptance.score(found.frontal[i], found.pooled[i])
        for slot in enabled:
            if float(found.presence[i, slot]) >= model.min_presence:
                boxes[i, slot] = _fractions(made.letterbox, found.boxes[i, slot].tolist())
    return {
        "true_boxes": true,
        "boxes": boxes,
        "vectors": found.vectors.numpy(),
        "anatomy_guess": _anatomy_guess(model, films, prepared),
        "frontal": scores,
        "accepted": scores >= model.acceptance.threshold,
    }


def _fractions(letterbox: Letterbox, corners: list[float]) -> Floats:
    width, height = letterbox.width / letterbox.scale_x, letterbox.height / letterbox.scale_y
    try:
        box = letterbox.to_image(Box(*corners)).clipped(width, height)
    except InvalidBox:
        return np.full(4, np.nan, dtype=np.float32)
    return np.array([box.x0 / width, box.y0 / height, box.x1 / width, box.y1 / height], dtype=np.float32)


def _anatomy_guess(model: RegionModel, films: Sequence[Film], prepared: Sequence[Prepared]) -> npt.NDArray[np.int64]:
    """Return the anatomy (as slot) that the embedder names for each true box, from features at that box alone."""
    boxes = torch.zeros(len(films), SLOTS, 4)
    boxes[..., 2:] = model.side
    guess = np.full((len(films), SLOTS), -1, dtype=np.int64)
    for i, (film, made) in enumerate(zip(films, prepared, strict=True)):
        for key, box in film.boxes.items():
            boxes[i, key - 1] = torch.tensor(made.letterbox.to_input(box).as_tuple())
    with torch.inference_mode():
        features = model.network.features(stack(list(prepared)).to(model.device))
        embedding = model.network.embed(features, boxes.to(model.device))
        named = model.network.embedder.classify(embedding.anatomy).argmax(dim=-1).cpu().numpy()
    for i, film in enumerate(films):
        slots = [key - 1 for key in film.boxes]
        guess[i, slots] = named[i, slots]
    return guess


def _pixel_sum(made: Prepared) -> str:
    return hashlib.sha256((made.values * 255).round().to(torch.uint8).numpy().tobytes()).hexdigest()[:24]
