"""Films decoded once and kept as small tensors, so that training never waits for a disk.

Shape letters: N films, S side of the input, A anatomies (all 29).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.data.films import Film, patient_key
from models.data.films import Progress as Progress
from models.data.pixels import read_pixels as read_pixels
from models.network import SLOTS
from models.preprocess import Letterbox, prepare


@dataclass(frozen=True, slots=True)
class FilmTensors:
    """Films as tensors; boxes in input pixels."""

    films: tuple[Film, ...]
    images: Tensor
    """(N, S, S) uint8"""
    boxes: Tensor
    """(N, A, 4) float32; zeros where unknown"""
    known: Tensor
    """(N, A) bool"""
    inner: Tensor
    """(N, 4) float32: the film's own rectangle inside the square"""
    finding: Tensor
    """(N,) int64: index into `finding_names`, -1 where unknown"""
    patient: Tensor
    """(N,) int64: one number per patient"""
    finding_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.films)


def load_films(films: Sequence[Film], side: int, progress: Progress | None = None) -> FilmTensors:
    """Return `films` decoded and letterboxed to `side`. Raises `DataError` naming the first film that cannot be."""
    names = tuple(sorted({f.finding for f in films if f.finding}))
    patients = {key: i for i, key in enumerate(sorted({patient_key(f.patient) for f in films}))}
    images = torch.zeros(len(films), side, side, dtype=torch.uint8)
    boxes, inner = torch.zeros(len(films), SLOTS, 4), torch.zeros(len(films), 4)
    known = torch.zeros(len(films), SLOTS, dtype=torch.bool)
    for i, film in enumerate(films):
        made = prepare(read_pixels(film), side)
        images[i] = (made.values * 255).round().to(torch.uint8)
        inner[i] = _inner(made.letterbox)
        for key, box in film.boxes.items():
            boxes[i, key - 1] = torch.tensor(made.letterbox.to_input(box).as_tuple())
            known[i, key - 1] = True
        if progress:
            progress(i + 1, len(films))
    finding = torch.tensor([names.index(f.finding) if f.finding else -1 for f in films])
    patient = torch.tensor([patients[patient_key(f.patient)] for f in films])
    return FilmTensors(tuple(films), images, boxes, known, inner, finding, patient, names)


def _inner(box: Letterbox) -> Tensor:
    return torch.tensor([box.left, box.top, box.left + box.width, box.top + box.height], dtype=torch.float32)
