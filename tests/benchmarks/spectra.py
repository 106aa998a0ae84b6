"""Synthetic vectors that are spread as real ones are: `python -m tests.benchmarks.spectra FOLDER` measures those.

The command lets the shipped model analyse the films of split `train` in FOLDER and writes `spectra.csv`: of each
anatomy the variances of its vectors along their principal axes, and their mean on those axes. Sampled from that,
vectors have the mean and the covariance of real ones up to a turn, which no distance depends on; so also their
participation ratio, how many directions they really use. What is drawn is made of unit length, which narrows its
widest directions: so it is drawn wider, by as much as a fit finds.

Shape letters: N films, A anatomies, D length of a vector.
"""

import csv
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from regionmir.core.anatomy import Anatomy, anatomy_by_short

FILE: Final = Path(__file__).with_name("spectra.csv")
BATCH: Final = 16
FITTED_ON: Final = 2000
ROUNDS: Final = 25

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Of one anatomy's unit vectors: variances (D,) along the principal axes, falling, and the mean (D,) on them."""

    variances: Floats
    mean: Floats

    @property
    def participation_ratio(self) -> float:
        return float(self.variances.sum() ** 2 / (self.variances**2).sum())

    def sample(self, count: int, seed: int) -> npt.NDArray[np.float32]:
        """Return unit vectors (count, D), turned by a turn that depends on `seed`."""
        rng = np.random.default_rng(seed)
        mean, deviations = self._before_normalisation()
        drawn = mean + deviations * rng.normal(size=(count, len(self.mean)))
        turn, _ = np.linalg.qr(rng.normal(size=(len(self.mean), len(self.mean))))
        turned = drawn @ turn
        return np.asarray(turned / np.linalg.norm(turned, axis=1, keepdims=True), np.float32)

    def _before_normalisation(self) -> tuple[Floats, Floats]:
        """Return mean (D,) and standard deviations (D,) of normal vectors that have `mean` and `variances` once they
        are of unit length, by a fixed point on a few of them."""
        noise = np.random.default_rng(0).normal(size=(FITTED_ON, len(self.mean)))
        mean, deviations = self.mean.copy(), np.sqrt(self.variances)
        for _ in range(ROUNDS):
            drawn = mean + deviations * noise
            drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
            mean += self.mean - drawn.mean(axis=0)
            deviations *= np.sqrt(self.variances / np.maximum(drawn.var(axis=0), 1e-12))
        return mean, deviations


def fitted(vectors: npt.NDArray[Any]) -> Spectrum:
    """Return the spectrum of unit vectors (N, D)."""
    mean = vectors.mean(axis=0)
    variances, axes = np.linalg.eigh(np.cov(vectors, rowvar=False))
    order = np.argsort(variances)[::-1]
    return Spectrum(np.clip(variances[order], 0, None), mean @ axes[:, order])


@cache
def spectra() -> dict[Anatomy, Spectrum]:
    """Return what `spectra.csv` says of each anatomy of the shipped model."""
    rows: dict[tuple[str, str], Floats] = {}
    with FILE.open(encoding="utf-8") as file:
        for short, what, *values in csv.reader(file):
            rows[short, what] = np.asarray(values, np.float64)
    shorts = dict.fromkeys(short for short, _ in rows)
    return {anatomy_by_short(s): Spectrum(rows[s, "variances"], rows[s, "mean"]) for s in shorts}


def sampled(count: int) -> tuple[tuple[Anatomy, ...], npt.NDArray[np.float32]]:
    """Return the anatomies (A) and vectors (count, A, D)."""
    found = spectra()
    vectors = [spectrum.sample(count, seed) for seed, spectrum in enumerate(found.values())]
    return tuple(found), np.stack(vectors, axis=1)


def _measured(folder: Path) -> dict[Anatomy, Spectrum]:
    from models.registry import load_model
    from regionmir.pixels.dicomize import read_films

    model, vectors = load_model(None), dict[Anatomy, list[npt.NDArray[np.float32]]]()
    films = [film for film in read_films(folder) if film.split == "train"]
    for start in range(0, len(films), BATCH):
        images = [_values(film.path) for film in films[start : start + BATCH]]
        for analysis in model.analyse(images):
            for region in analysis.regions:
                vectors.setdefault(region.region.anatomy, []).append(region.vector)
    return {anatomy: fitted(np.stack(found)) for anatomy, found in sorted(vectors.items(), key=lambda one: one[0].key)}


def _values(path: Path) -> npt.NDArray[np.float32]:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L"), np.float32) / 255


def _write(found: dict[Anatomy, Spectrum]) -> None:
    with FILE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for anatomy, spectrum in found.items():
            writer.writerow([anatomy.short, "variances", *(f"{value:.3g}" for value in spectrum.variances)])
            writer.writerow([anatomy.short, "mean", *(f"{value:.3g}" for value in spectrum.mean)])


if __name__ == "__main__":
    measured = _measured(Path(sys.argv[1]))
    _write(measured)
    for anatomy, spectrum in measured.items():
        print(f"{anatomy.short:5} participation ratio {spectrum.participation_ratio:.1f}")
