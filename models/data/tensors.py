"""Films decoded once and kept as small tensors, so that training never waits for a disk.

Shape letters: N films, S side of the input, A anatomies (all 29).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from models.data.errors import DataError
from models.data.films import Film, patient_key
from models.network import SLOTS
from models.preprocess import Image as Pixels
from models.preprocess import Letterbox, prepare
from regionmir.core.anatomy import anatomy_by_name

Labels = npt.NDArray[np.uint8]
MASK_ANATOMIES = tuple(anatomy_by_name(n).key for n in ("right lung", "left lung", "cardiac silhouette"))
"""The anatomies that labels 1, 2 and 3 of a mask stand for, by key."""

Progress = Callable[[int, int], None]
"""Called with (done, total)."""


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
    """(N, M, M) uint8: 1 right lung, 2 left lung, 3 heart; M is half of S"""
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


def read_pixels(film: Film) -> Pixels:
    """Return the display values (H, W) of `film` in [0, 1]. Raises `DataError` where it cannot be read."""
    try:
        with Image.open(film.path) as opened:
            grey: Pixels = np.asarray(opened.convert("L"), dtype=np.float32) / np.float32(255)
    except (OSError, UnidentifiedImageError, ValueError) as error:
        raise DataError(film.path, f"cannot be read as an image ({type(error).__name__})") from None
    if grey.shape != (film.height, film.width):
        raise DataError(
            film.path, f"is {grey.shape[1]} x {grey.shape[0]}, images.csv says {film.width} x {film.height}"
        )
    return grey


def read_mask(film: Film) -> Labels:
    """Return the label map (H, W) of `film`, zeros where it has none. Raises `DataError` where it does not fit."""
    if film.mask is None:
        return np.zeros((film.height, film.width), dtype=np.uint8)
    try:
        with Image.open(film.mask) as opened:
            labels: Labels = np.asarray(opened.convert("L"), dtype=np.uint8)
    except (OSError, UnidentifiedImageError, ValueError) as error:
        raise DataError(film.mask, f"cannot be read as an image ({type(error).__name__})") from None
    if labels.shape != (film.height, film.width):
        raise DataError(film.mask, f"is {labels.shape[1]} x {labels.shape[0]}, its film {film.width} x {film.height}")
    return labels


def load_films(films: Sequence[Film], side: int, progress: Progress | None = None) -> FilmTensors:
    """Return `films` decoded and letterboxed to `side`. Raises `DataError` naming the first film that cannot be."""
    names = tuple(sorted({f.finding for f in films if f.finding}))
    patients = {key: i for i, key in enumerate(sorted({patient_key(f.patient) for f in films}))}
    images = torch.zeros(len(films), side, side, dtype=torch.uint8)
    boxes, inner = torch.zeros(len(films), SLOTS, 4), torch.zeros(len(films), 4)
    known = torch.zeros(len(films), SLOTS, dtype=torch.bool)
    masks = torch.zeros(len(films), side // 2, side // 2, dtype=torch.uint8)
    masked = torch.zeros(len(films), len(MASK_ANATOMIES), dtype=torch.bool)
    for i, film in enumerate(films):
        made = prepare(read_pixels(film), side)
        images[i] = (made.values * 255).round().to(torch.uint8)
        inner[i] = _inner(made.letterbox)
        for key, box in film.boxes.items():
            boxes[i, key - 1] = torch.tensor(made.letterbox.to_input(box).as_tuple())
            known[i, key - 1] = True
        masks[i] = _placed(read_mask(film), made.letterbox, side)
        masked[i] = torch.tensor([film.mask is not None and key in film.boxes for key in MASK_ANATOMIES])
        if progress:
            progress(i + 1, len(films))
    finding = torch.tensor([names.index(f.finding) if f.finding else -1 for f in films])
    patient = torch.tensor([patients[patient_key(f.patient)] for f in films])
    return FilmTensors(tuple(films), images, boxes, known, masks, masked, inner, finding, patient, names)


def _placed(labels: Labels, box: Letterbox, side: int) -> Tensor:
    """Return `labels` (H, W) as the model sees the film, at half its size (M, M)."""
    at = np.arange(side // 2) * 2 + 1.0
    rows, columns = (at - box.top) / box.scale_y, (at - box.left) / box.scale_x
    inside = ((rows >= 0) & (rows < labels.shape[0]))[:, None] & ((columns >= 0) & (columns < labels.shape[1]))[None]
    clipped = np.ix_(*(v.astype(int).clip(0, n - 1) for v, n in zip((rows, columns), labels.shape, strict=True)))
    return torch.from_numpy(np.where(inside, labels[clipped], 0).astype(np.uint8))


def _inner(box: Letterbox) -> Tensor:
    return torch.tensor([box.left, box.top, box.left + box.width, box.top + box.height], dtype=torch.float32)
