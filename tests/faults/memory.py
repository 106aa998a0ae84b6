"""Memory of each process over time: a curve, and how fast it grows."""

import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from tests.faults.world import World

MIB = 2**20
_EVERY_S = 2.0
_SHORTEST_LIFE_S = 30.0


@dataclass(frozen=True)
class Sample:
    """Resident memory of one process: seconds since the beginning, process id, bytes."""

    at_s: float
    pid: int
    rss: int


@dataclass
class MemoryCurve:
    """Samples each role's main process until `stop`."""

    world: "World"
    samples: dict[str, list[Sample]] = field(default_factory=lambda: defaultdict(list))
    _stop: threading.Event = field(default_factory=threading.Event)
    _began: float = field(default_factory=time.monotonic)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def now_s(self) -> float:
        return time.monotonic() - self._began

    def slopes(self, since_s: float) -> dict[str, float]:
        """Return MiB per hour of each role, of the life of its process that was longest after `since_s`."""
        found = {}
        for role, samples in self.samples.items():
            lives: dict[int, list[Sample]] = defaultdict(list)
            for sample in samples:
                if sample.at_s >= since_s:
                    lives[sample.pid].append(sample)
            longest = max(lives.values(), key=_length, default=[])
            if _length(longest) >= _SHORTEST_LIFE_S:
                found[role] = slope(longest) * 3600 / MIB
        return found

    def peaks(self) -> dict[str, float]:
        """Return the most MiB that each role ever had."""
        return {role: max(sample.rss for sample in samples) / MIB for role, samples in self.samples.items()}

    def _run(self) -> None:
        while not self._stop.wait(_EVERY_S):
            for role, process in self.world.processes().items():
                try:
                    rss = process.memory_info().rss
                except psutil.Error:
                    continue
                self.samples[role].append(Sample(self.now_s(), process.pid, rss))


def _length(life: Sequence[Sample]) -> float:
    return life[-1].at_s - life[0].at_s if life else 0.0


def slope(samples: Sequence[Sample]) -> float:
    """Return bytes per second of the straight line through the samples (least squares)."""
    count = len(samples)
    mean_t = sum(one.at_s for one in samples) / count
    mean_m = sum(one.rss for one in samples) / count
    spread = sum((one.at_s - mean_t) ** 2 for one in samples)
    return sum((one.at_s - mean_t) * (one.rss - mean_m) for one in samples) / spread if spread else 0.0


def draw(curve: MemoryCurve, calm_since_s: float, path: Path) -> None:
    """Write the curves as a picture; a line marks where the faults end."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5))
    for role, samples in sorted(curve.samples.items()):
        points = axes.plot([s.at_s / 60 for s in samples], [s.rss / MIB for s in samples], ".", ms=2, label=role)
        assert points
    axes.axvline(calm_since_s / 60, color="grey", lw=1)
    axes.set(xlabel="minutes", ylabel="resident memory, MiB", title="Memory of each process; faults end at the line")
    axes.legend(markerscale=5, ncol=4, fontsize=8)
    axes.set_ylim(bottom=0)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)
