"""Figures with their uncertainty: means whose 95 % interval comes from drawing patients, not films, again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
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
    return mean_figures({"": values}, patients, seed)[""]


def mean_figures(
    values: Mapping[str, npt.ArrayLike], patients: npt.ArrayLike, seed: int = 0
) -> dict[str, Figure | None]:
    """Return the mean of each of `values` (N,) over the cases where it is known (not NaN); None where it never is."""
    _, owner = np.unique(np.asarray(patients), return_inverse=True)
    return {name: _mean(np.asarray(cases, dtype=np.float64), owner, seed) for name, cases in values.items()}


def _mean(cases: Floats, owner: Ints, seed: int) -> Figure | None:
    known = ~np.isnan(cases)
    if not known.any():
        return None
    cases, owner = cases[known], np.unique(owner[known], return_inverse=True)[1]
    sums, counts = np.bincount(owner, weights=cases), np.bincount(owner).astype(np.float64)
    drawn = _draws(len(sums), seed)
    low, high = np.percentile((drawn @ sums) / (drawn @ counts), [2.5, 97.5])
    return Figure(float(cases.mean()), float(low), float(high), int(cases.size))


@lru_cache(maxsize=8)
def _draws(patients: int, seed: int) -> Floats:
    """Return how often each of `patients` is drawn in each of the samples (DRAWS, patients)."""
    rng = np.random.default_rng(seed)
    drawn: Floats = rng.multinomial(patients, np.full(patients, 1 / patients), size=DRAWS).astype(np.float64)
    return drawn


def statistic_figure(
    values: Floats, patients: npt.ArrayLike, statistic: Callable[[Floats], float], draws: int, seed: int = 0
) -> Figure:
    """Return `statistic` of rows `values` (N, ...) and its interval over `draws` draws of patients, row by row."""
    _, owner = np.unique(np.asarray(patients), return_inverse=True)
    rng, count = np.random.default_rng(seed), int(owner.max()) + 1
    found = []
    for _ in range(draws):
        times = rng.multinomial(count, np.full(count, 1 / count))
        found.append(statistic(np.repeat(values, times[owner], axis=0)))
    low, high = np.percentile(found, [2.5, 97.5])
    return Figure(float(statistic(values)), float(low), float(high), len(values))


def auroc(positive: Floats, negative: Floats) -> float:
    """Return the chance that one of `positive` scores above one of `negative`; ties count half."""
    both = np.concatenate([positive, negative])
    _, inverse, counts = np.unique(both, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    top = ranks[: len(positive)].sum() - len(positive) * (len(positive) + 1) / 2
    return float(top / (len(positive) * len(negative)))


def as_json(tree: Any) -> Any:
    """Return nested mappings and lists of figures as JSON values; what could not be computed is left out."""
    if isinstance(tree, Figure):
        return tree.as_json()
    if isinstance(tree, dict):
        return {str(k): as_json(v) for k, v in tree.items() if v is not None and v != {}}
    if isinstance(tree, list):
        return [as_json(v) for v in tree]
    return tree
