"""What `make bench` writes of each figure."""

import json
from pathlib import Path

from tests.benchmarks.report import Figure, write

KEYS = {"id", "metric", "ours", "peer", "ratio", "target", "higher_is_better", "met", "why"}


def test_a_missed_target_says_why_and_a_reached_one_does_not(tmp_path: Path) -> None:
    rates = {"peer": 100.0, "why": "the disk"}
    figures = [
        Figure("fast", "instances/s", 200.0, 1.5, True, **rates),  # type: ignore[arg-type]
        Figure("slow", "instances/s", 120.0, 1.5, True, **rates),  # type: ignore[arg-type]
        Figure("late", "ms", 30.0, 25.0, False),
        Figure("told", "ms", 30.0, None, False),
    ]
    write(figures, tmp_path / "build" / "bench.json")
    rows = json.loads((tmp_path / "build" / "bench.json").read_text())
    assert all(set(row) == KEYS for row in rows)
    assert [(row["ratio"], row["met"], row["why"]) for row in rows] == [
        (2.0, True, ""),
        (1.2, False, "the disk"),
        (None, False, "not profiled yet"),
        (None, None, ""),
    ]
