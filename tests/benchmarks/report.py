"""What every benchmark gives back, and how all of them are printed and written."""

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure. `peer`: the same of the named peer in the same run, where there is one."""

    id: str
    metric: str
    ours: float
    target: float | None
    higher_is_better: bool
    peer: float | None = None
    why: str = ""
    """What costs, told where the target is missed; without one it is said that nobody has looked yet."""

    @property
    def ratio(self) -> float | None:
        return None if not self.peer else self.ours / self.peer

    @property
    def met(self) -> bool | None:
        """Return whether the target is reached; None without one. A target with a peer is a ratio."""
        if self.target is None:
            return None
        value = self.ours if self.ratio is None else self.ratio
        return bool(value >= self.target if self.higher_is_better else value <= self.target)

    @property
    def row(self) -> dict[str, Any]:
        """Return what `build/bench.json` says of it."""
        return {**asdict(self), "ratio": self.ratio, "met": self.met, "why": self.reason}

    @property
    def reason(self) -> str:
        """Return why the target is missed; empty where it is not."""
        return (self.why or "not profiled yet") if self.met is False else ""


def machine() -> str:
    """Return this machine in words."""
    memory = psutil.virtual_memory().total / 2**30
    return f"{psutil.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}"


def write(figures: Sequence[Figure], path: Path) -> None:
    """Write the figures as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([f.row for f in figures], indent=2) + "\n", encoding="utf-8")


def show(figures: Sequence[Figure]) -> None:
    """Print the figures as a table."""
    table = Table("id", "metric", "ours", "peer", "ratio", "target", "met", box=None, pad_edge=False)
    for f in figures:
        cells = [f"{f.ours:.4g}", *("-" if v is None else f"{v:.4g}" for v in (f.peer, f.ratio, f.target))]
        table.add_row(f.id, f.metric, *cells, {True: "yes", False: f"NO {f.reason}", None: "-"}[f.met])
    console = Console(width=160)
    console.print(machine())
    console.print(table)
