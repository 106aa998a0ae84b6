"""What a data set holds and whether it can be trusted: counts by split, noise, near duplicates across splits."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from models.data.dataset import DataSet
from models.data.duplicates import DuplicateFinder, NearDuplicate
from models.data.films import Film, patient_key
from models.data.pixels import read_mask
from regionmir.core.anatomy import anatomy_by_key

Stages = Callable[[str, int, int], None]
"""Called with what is being done, and (done, total)."""


@dataclass(slots=True)
class SplitCount:
    """What one split holds."""

    films: int = 0
    patients: set[str] = field(default_factory=set)
    masks: int = 0
    boxes: Counter[str] = field(default_factory=Counter)
    """By the anatomy's name."""
    findings: Counter[str] = field(default_factory=Counter)
    """Films by their finding; "" is unknown."""
    stated: Counter[str] = field(default_factory=Counter)
    """Regions of which a finding is stated, by finding."""
    denied: Counter[str] = field(default_factory=Counter)
    """Regions of which a finding is denied, by finding."""

    def add(self, film: Film) -> None:
        """Count one film."""
        self.films += 1
        self.patients.add(film.patient)
        self.masks += film.mask is not None
        self.boxes.update(anatomy_by_key(key).name for key in film.boxes)
        self.findings[film.finding] += 1
        for findings in film.findings.values():
            for finding, present in findings.items():
                (self.stated if present else self.denied)[finding] += 1


@dataclass(frozen=True, slots=True)
class DataReport:
    """Outcome of a check."""

    kind: str
    splits: dict[str, SplitCount]
    noise: dict[str, int]
    persons_in_two_splits: int
    """Persons as training counts them (`patient_key`), who stand in two splits: it withholds their films."""
    near_duplicates: list[NearDuplicate] | None
    """None where pixels were not looked at."""

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain values."""
        pairs = self.near_duplicates
        return {
            "kind": self.kind,
            "films": sum(s.films for s in self.splits.values()),
            "patients": len(set().union(*(s.patients for s in self.splits.values()))),
            "persons_in_two_splits": self.persons_in_two_splits,
            "splits": {name: _split_json(split) for name, split in self.splits.items()},
            "noise": self.noise,
            "near_duplicates": None if pairs is None else [_pair_json(pair) for pair in pairs],
        }


def check_data(data: DataSet, stages: Stages, *, pixels: bool = True) -> DataReport:
    """Return what `data` holds. With `pixels`, every image and mask is read, and near duplicates are looked for.

    Raises `DataError` at the first fault that reading does not survive.
    """
    splits: dict[str, SplitCount] = {}
    finder = DuplicateFinder()
    for film in data.films(None, lambda done, total: stages("films", done, total)):
        splits.setdefault(film.split, SplitCount()).add(film)
        if pixels:
            finder.add(film)
            if film.mask is not None:
                read_mask(film)
    pairs = finder.across_splits(lambda done, total: stages("near duplicates", done, total)) if pixels else None
    return DataReport(data.kind, splits, dict(data.noise.counts), _shared_persons(splits), pairs)


def _shared_persons(splits: dict[str, SplitCount]) -> int:
    seen = Counter(key for split in splits.values() for key in {patient_key(p) for p in split.patients})
    return sum(count > 1 for count in seen.values())


def _split_json(split: SplitCount) -> dict[str, Any]:
    return {
        "films": split.films,
        "patients": len(split.patients),
        "masks": split.masks,
        "boxes": dict(split.boxes),
        "findings": dict(split.findings),
        "regions_stated": dict(split.stated),
        "regions_denied": dict(split.denied),
    }


def _pair_json(pair: NearDuplicate) -> dict[str, Any]:
    return {
        "films": [pair.first.name, pair.second.name],
        "splits": [pair.first.split, pair.second.split],
        "bits": pair.bits,
        "correlation": round(pair.correlation, 4),
    }
