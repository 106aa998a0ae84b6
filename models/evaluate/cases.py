"""Cases: what a figure is the mean of. One judged thing each, of one film and (mostly) one anatomy.

Every figure is a mean over cases, so a group of queries is judged by keeping its cases. Shape letters: C cases,
N films, A anatomies (all 29).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from models.evaluate.figures import Figure, mean_figures
from regionmir.core.anatomy import anatomies

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Texts = npt.NDArray[np.str_]
Values = npt.NDArray[np.float64]
WHOLE_FILM = -1
"""Stands in `slots` where a case is of no anatomy."""


@dataclass(frozen=True, slots=True)
class Cases:
    """Measures (C,) of cases; NaN where a case has no such measure."""

    rows: Ints
    """(C,): the query film"""
    slots: Ints
    """(C,): the anatomy's slot, or `WHOLE_FILM`"""
    patients: Texts
    """(C,)"""
    values: Mapping[str, Values]
    labels: Texts
    """(C,): the query's finding, "" where none is asked for"""

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, chosen: Bools | Ints) -> "Cases":
        """Return the `chosen` cases."""
        values = {name: v[chosen] for name, v in self.values.items()}
        return Cases(self.rows[chosen], self.slots[chosen], self.patients[chosen], values, self.labels[chosen])

    def where(self, keep: Bools) -> "Cases":
        """Return the cases of the films and anatomies in `keep` (N, A); a whole film stays if any anatomy does."""
        whole = self.slots == WHOLE_FILM
        films: Bools = np.asarray(keep.any(axis=1))
        kept: Bools = np.where(whole, films[self.rows], keep[self.rows, np.maximum(self.slots, 0)])
        return self.take(kept)

    def of_slots(self, slots: Sequence[int]) -> "Cases":
        """Return the cases of these anatomies."""
        return self.take(np.isin(self.slots, list(slots)))

    def only(self, *names: str) -> "Cases":
        """Return the cases with these measures alone."""
        return replace(self, values={n: self.values[n] for n in names if n in self.values})

    def figures(self) -> dict[str, Figure | None]:
        """Return the mean of every measure, None where it has no case."""
        return mean_figures(self.values, self.patients)

    def per_anatomy(self) -> dict[str, dict[str, Figure | None]]:
        """Return the figures of each anatomy that has cases, by its name."""
        return {a.name: self.of_slots([a.key - 1]).figures() for a in anatomies() if (self.slots == a.key - 1).any()}

    def per_label(self) -> dict[str, dict[str, Figure | None]]:
        """Return the figures of each label."""
        return {str(label): self.take(self.labels == label).figures() for label in np.unique(self.labels) if label}


def make_cases(
    patients: Texts, rows: Ints, slots: Ints, values: Mapping[str, npt.ArrayLike], labels: Texts | None = None
) -> Cases:
    """Return cases of films `rows` (C,) whose patients are looked up in `patients` (N,)."""
    measures = {name: np.asarray(v, dtype=np.float64) for name, v in values.items()}
    return Cases(rows, slots, patients[rows], measures, np.full(len(rows), "") if labels is None else labels)


def no_cases(*names: str) -> Cases:
    """Return no cases, with these measures."""
    none, nobody = np.zeros(0, dtype=np.int64), np.zeros(0, dtype="<U1")
    return Cases(none, none, nobody, {n: np.zeros(0) for n in names}, nobody)


def join(parts: Sequence[Cases]) -> Cases:
    """Return all cases of `parts`, which have the same measures; no part gives no case."""
    if not parts:
        return no_cases()
    values = {name: np.concatenate([p.values[name] for p in parts]) for name in parts[0].values}
    rows, slots, patients, labels = (
        np.concatenate([getattr(p, field) for p in parts]) for field in ("rows", "slots", "patients", "labels")
    )
    return Cases(rows, slots, patients, values, labels)
