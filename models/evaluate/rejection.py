"""What the model refuses: generated images that are no chest radiograph, and any images handed in to be refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from models.data.errors import DataError
from models.data.tensors import read_pixels
from models.evaluate.analysed import Analysed, Bools
from models.evaluate.figures import Figure, Floats, auroc, mean_figure
from models.preprocess import prepare
from models.region_model import RegionModel
from models.square import Image as Pixels
from models.train.negatives import MAKERS

GENERATED = 8
"""Images of each kind that are generated."""
_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})


@dataclass(frozen=True, slots=True)
class Negatives:
    """Images (H, W) of display values that must be refused, and what they are in a few words."""

    images: Sequence[Pixels]
    described: str

    def __add__(self, other: "Negatives") -> "Negatives":
        """Return both."""
        return Negatives([*self.images, *other.images], f"{self.described}, {other.described}")


def generated_negatives(films: Analysed, side: int, seed: int = 1) -> Negatives:
    """Return images (S, S) to be refused, made from `films` by every kind of generator."""
    rng = torch.Generator().manual_seed(seed)
    made = []
    for maker in dict.fromkeys(MAKERS):
        for i in torch.randint(0, len(films.films), (GENERATED,), generator=rng).tolist():
            film = prepare(read_pixels(films.films[i]), side).values
            image = maker(film, rng).numpy()
            low, high = float(image.min()), float(image.max())
            made.append(((image - low) / max(high - low, 1e-6)).astype(np.float32))
    return Negatives(made, f"{len(made)} generated images")


def folder_negatives(folder: Path) -> Negatives:
    """Return the images (PNG, JPEG) anywhere in `folder`. Raises `DataError` where one cannot be read, or none is."""
    made = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES):
        try:
            with Image.open(path) as opened:
                made.append(np.asarray(opened.convert("L"), dtype=np.float32) / np.float32(255))
        except (OSError, UnidentifiedImageError) as error:
            raise DataError(path, f"cannot be read as an image ({type(error).__name__})") from None
    if not made:
        raise DataError(folder, "holds no PNG or JPEG")
    return Negatives(made, f"{len(made)} images of a folder")


def scores(model: RegionModel, negatives: Negatives) -> Floats:
    """Return the frontal scores (N,) of images to be refused; 0 for a blank one."""
    return np.array([a.frontal_score for a in model.analyse(negatives.images)], dtype=np.float64)


def rejection_figures(films: Analysed, chosen: Bools, low: Floats, threshold: float) -> dict[str, Figure | None]:
    """Return AUROC of the `chosen` (N,) films against images that score `low`, and the shares that were accepted.

    The interval of the AUROC draws patients; that of the negatives' share draws images.
    """
    high, patients = films.frontal.astype(np.float64)[chosen], films.patients[chosen]
    separately = [auroc(high[i : i + 1], low) for i in range(len(high))]
    return {
        "auroc": mean_figure(separately, patients),
        "false_accept_rate": mean_figure((low >= threshold).astype(np.float64), np.arange(len(low))),
        "film_accept_rate": mean_figure(films.accepted[chosen].astype(np.float64), patients),
    }
