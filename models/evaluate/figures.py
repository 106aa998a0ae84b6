"""Figures with their uncertainty: means whose 95 % interval comes from drawing patients, not films, again."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

DRAWS = 1000
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean over `n` cases and its 95 % patient-bootstrap interval."""

    value: float
    low: float
    high: float
    n: int

    def as_json(self) -> dict[str, float | int]:
        """Return the figure rounded to four digits."""
        return {"value": round(self.value, 4), "low": round(self.low, 4), "high": round(self.high, 4), "n": self.n}


def mean_figure(values: npt.ArrayLike, patients: npt.ArrayLike, seed: int = 0) -> Figure | None:
    """Return the mean of `values` (N,) whose cases belong to `patients` (N,); None without cases."""
    cases = np.asarray(values, dtype=np.float64)
    if cases.size == 0:
        return None
    _, owner = np.unique(np.asarray(patients), return_inverse=True)
    sums, counts = np.bincount(owner, weights=cases), np.bincount(owner).astype(np.float64)
    drawn = _draws(len(sums), seed)
    means = (drawn @ sums) / (drawn @ counts)
    low, high = np.percentile(means, [2.5, 97.5])
    return Figure(float(cases.mean()), float(low), float(high), int(cases.size))


def _draws(patients: int, seed: int) -> Floats:
    """Return how often each of `patients` is drawn in each of the samples (DRAWS, patients)."""
    rng = np.random.default_rng(seed)
    drawn: Floats = rng.multinomial(patients, np.full(patients, 1 / patients), size=DRAWS).astype(np.float64)
    return drawn


def auroc(positive: Floats, negative: Floats) -> float:
    """Return the chance that one of `positive` scores above one of `negative`; ties count half."""
    both = np.concatenate([positive, negative])
    _, inverse, counts = np.unique(both, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    top = ranks[: len(positive)].sum() - len(positive) * (len(positive) + 1) / 2
    return float(top / (len(positive) * len(negative)))


def as_json(tree: Any) -> Any:
    """Return nested mappings of figures as JSON values; figures that could not be computed are left out."""
    if isinstance(tree, Figure):
        return tree.as_json()
    if isinstance(tree, dict):
        return {str(k): as_json(v) for k, v in tree.items() if v is not None and v != {}}
    return tree
