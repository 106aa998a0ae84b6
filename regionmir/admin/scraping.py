"""The figures that the processes of this data folder tell, fetched as Prometheus fetches them."""

import json
import math
import urllib.request
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Target:
    """Where one process tells its figures."""

    process: str
    address: str


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram: how many, their sum, and how many are at most so large, by upper bound."""

    count: float
    total: float
    buckets: tuple[tuple[float, float], ...]

    def __add__(self, other: "Distribution") -> "Distribution":
        """Return both together; they must have the same bounds."""
        pairs = zip(self.buckets, other.buckets, strict=True)
        both = tuple((bound, ours + theirs) for (bound, ours), (_, theirs) in pairs)
        return Distribution(self.count + other.count, self.total + other.total, both)

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0

    def quantile(self, share: float) -> float | None:
        """Return the value below which `share` of them are, straight between bounds (as `histogram_quantile` does).

        None without any; the largest finite bound where it is beyond all.
        """
        wanted, below, lower = share * self.count, 0.0, 0.0
        for bound, upto in self.buckets:
            if self.count and upto >= wanted:
                if math.isinf(bound):
                    return lower
                return lower + (bound - lower) * ((wanted - below) / (upto - below) if upto > below else 1.0)
            below, lower = upto, bound
        return None


@dataclass(slots=True)
class Figures:
    """What one process told: single values by name and labels, histograms by name and labels."""

    values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = field(default_factory=dict)
    distributions: dict[tuple[str, tuple[tuple[str, str], ...]], Distribution] = field(default_factory=dict)

    def value(self, name: str) -> float | None:
        """Return the value of a figure without labels, None where it was not told."""
        return self.values.get((name, ()))

    def total(self, name: str) -> float:
        """Return the sum over all labels."""
        return sum(value for (found, _), value in self.values.items() if found == name)


def targets(folder: Path) -> list[Target]:
    """Return the processes that wrote down where they tell their figures, by name."""
    found = []
    for file in folder.glob("*.json"):
        try:
            for group in json.loads(file.read_text(encoding="utf-8")):
                found += [Target(group["labels"]["process"], address) for address in group["targets"]]
        except (OSError, ValueError, KeyError, TypeError):  # it has just ended
            continue
    return sorted(found, key=lambda one: (one.process, one.address))


def fetch(target: Target) -> Figures | None:
    """Return what a process tells, None where it does not answer."""
    try:
        with urllib.request.urlopen(f"http://{target.address}/metrics", timeout=TIMEOUT_S) as answer:
            return read_figures(answer.read().decode("utf-8"))
    except (OSError, ValueError):
        return None


def read_figures(text: str) -> Figures:
    """Return the figures of a page in Prometheus' text format. Raises `ValueError`."""
    figures = Figures()
    histograms: dict[tuple[str, tuple[tuple[str, str], ...]], list[tuple[str, float, float]]] = defaultdict(list)
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            labels = tuple(sorted((k, v) for k, v in one.labels.items() if k != "le"))
            if family.type == "histogram":
                part = one.name.removeprefix(f"{family.name}_")
                bound = float(one.labels["le"]) if part == "bucket" else 0.0
                histograms[family.name, labels].append((part, bound, one.value))
            else:
                figures.values[one.name, labels] = one.value
    figures.distributions |= {key: _distribution(parts) for key, parts in histograms.items()}
    return figures


def _distribution(parts: Iterable[tuple[str, float, float]]) -> Distribution:
    found = list(parts)
    count, total = (_only(found, part) for part in ("count", "sum"))
    return Distribution(count, total, tuple(sorted((b, v) for part, b, v in found if part == "bucket")))


def _only(parts: Iterable[tuple[str, float, float]], wanted: str) -> float:
    values: Iterator[float] = (value for part, _, value in parts if part == wanted)
    return next(values, 0.0)
