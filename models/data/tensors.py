"""Films decoded once and kept as small tensors, so that training never waits for a disk.

Shape letters: N films, S side of the input, A anatomies (all 29).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from models.data.films import Film, patient_key
from models.data.films import Progress as Progress
from models.data.pixels import MASK_LABELS, LabelMap, read_mask
from models.data.pixels import read_pixels as read_pixels
from models.network import SLOTS
from models.preprocess import prepare
from models.square import Letterbox
from regionmir.core.anatomy import anatomy_by_name

_MASK_KEYS = tuple(anatomy_by_name(name).key for name in MASK_LABELS.values())


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
    masks: Tensor
    """(N, M, M) uint8: labels as in `models.data.pixels.MASK_LABELS`; M is half of S"""
    masked: Tensor
    """(N, 3) bool: which of the three the mask of a film tells of"""
    inner: Tensor
    """(N, 4) float32: the film's own rectangle inside the square"""
    finding: Tensor
    """(N,) int64: index into `finding_names`, -1 where unknown"""
    patient: Tensor
    """(N,) int64: one number per patient"""
    finding_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.films)

    def take(self, rows: Tensor) -> "FilmTensors":
        """Return the films `rows` (R,)."""
        apart = ("films", "finding_names")
        fields = {n: getattr(self, n)[rows] for n in self.__dataclass_fields__ if n not in apart}
        return replace(self, films=tuple(self.films[i] for i in rows.tolist()), **fields)


def load_films(films: Sequence[Film], side: int, progress: Progress | None = None) -> FilmTensors:
    """Return `films` decoded and letterboxed to `side`. Raises `DataError` naming the first film that cannot be."""
    names = tuple(sorted({f.finding for f in films if f.finding}))
    patients = {key: i for i, key in enumerate(sorted({patient_key(f.patient) for f in films}))}
    images = torch.zeros(len(films), side, side, dtype=torch.uint8)
    boxes, inner = torch.zeros(len(films), SLOTS, 4), torch.zeros(len(films), 4)
    known = torch.zeros(len(films), SLOTS, dtype=torch.bool)
    masks = torch.zeros(len(films), side // 2, side // 2, dtype=torch.uint8)
    masked = torch.zeros(len(films), len(_MASK_KEYS), dtype=torch.bool)
    for i, film in enumerate(films):
        made = prepare(read_pixels(film), side)
        images[i] = (made.values * 255).round().to(torch.uint8)
        inner[i] = _inner(made.letterbox)
        for key, box in film.boxes.items():
            boxes[i, key - 1] = torch.tensor(made.letterbox.to_input(box).as_tuple())
            known[i, key - 1] = True
        if film.mask is not None:
            masks[i] = _placed(read_mask(film), made.letterbox, side)
            masked[i] = torch.tensor([key in film.boxes for key in _MASK_KEYS])
        if progress:
            progress(i + 1, len(films))
    finding = torch.tensor([names.index(f.finding) if f.finding else -1 for f in films])
    patient = torch.tensor([patients[patient_key(f.patient)] for f in films])
    return FilmTensors(tuple(films), images, boxes, known, masks, masked, inner, finding, patient, names)


def _placed(labels: LabelMap, box: Letterbox, side: int) -> Tensor:
    """Return `labels` (H, W) as the model sees the film, at half its size (M, M)."""
    at = np.arange(side // 2) * 2 + 1.0
    rows, columns = (at - box.top) / box.scale_y, (at - box.left) / box.scale_x
    inside = ((rows >= 0) & (rows < labels.shape[0]))[:, None] & ((columns >= 0) & (columns < labels.shape[1]))[None]
    clipped = np.ix_(*(v.astype(int).clip(0, n - 1) for v, n in zip((rows, columns), labels.shape, strict=True)))
    return torch.from_numpy(np.where(inside, labels[clipped], 0).astype(np.uint8))


def _inner(box: Letterbox) -> Tensor:
    return torch.tensor([box.left, box.top, box.left + box.width, box.top + box.height], dtype=torch.float32)
