"""What the model refuses: generated images that are no chest radiograph, and any folder of images to be refused."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, UnidentifiedImageError

from models.data.errors import DataError
from models.data.tensors import read_pixels
from models.evaluate.analysed import Analysed
from models.evaluate.figures import Figure, auroc, mean_figure
from models.preprocess import Image as Pixels
from models.preprocess import prepare
from models.region_model import RegionModel
from models.train.negatives import MAKERS

GENERATED = 8
"""Images of each kind that are generated."""
_BATCH = 16
_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})


def generated_negatives(films: Analysed, side: int, seed: int = 1) -> list[Pixels]:
    """Return images (S, S) to be refused, made from `films` by every kind of generator."""
    rng = torch.Generator().manual_seed(seed)
    made = []
    for maker in dict.fromkeys(MAKERS):
        for i in torch.randint(0, len(films.films), (GENERATED,), generator=rng).tolist():
            film = prepare(read_pixels(films.films[i]), side).values
            image = maker(film, rng).numpy()
            low, high = float(image.min()), float(image.max())
            made.append(((image - low) / max(high - low, 1e-6)).astype(np.float32))
    return made


def folder_negatives(folder: Path) -> list[Pixels]:
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
    return made


def scores(model: RegionModel, images: list[Pixels]) -> npt.NDArray[np.float64]:
    """Return the frontal scores (N,) of `images`; 0 for a blank one."""
    return np.array([a.frontal_score for a in model.analyse(images)], dtype=np.float64)


def rejection_figures(model: RegionModel, films: Analysed, negatives: list[Pixels]) -> dict[str, Figure | None]:
    """Return AUROC of films against `negatives`, and the shares of negatives and of films that were accepted."""
    low = scores(model, negatives)
    high = films.frontal.astype(np.float64)
    accepted = (low >= model.acceptance.threshold).astype(np.float64)
    separately = np.array([auroc(high[films.patients == p], low) for p in np.unique(films.patients)])
    return {
        "auroc": mean_figure(separately, np.unique(films.patients)),
        "false_accept_rate": mean_figure(accepted, np.arange(len(low))),
        "film_accept_rate": mean_figure(films.accepted.astype(np.float64), films.patients),
    }
