"""One source left out: what is taught, what is judged, and what stands in the table."""

import json
import re
from pathlib import Path

import pytest
import torch

from models.ablate import sources
from models.ablate.run import learnt
from models.ablate.sources import leave_out
from models.data.tensors import FilmTensors
from regionmir.core.errors import ConfigurationError
from tests.support.drawn import drawn_folder
from tests.unit.models.test_ablate import tiny


def test_each_source_is_left_out_once_and_judged_beside_a_run_that_has_seen_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    taught: list[set[str]] = []

    def noting(config: object, training: FilmTensors, fitted: FilmTensors, note: object) -> object:
        taught.append({film.source for film in (*training.films, *fitted.films)})
        return learnt(config, training, fitted, note)  # type: ignore[arg-type]

    monkeypatch.setattr(sources, "learnt", noting)
    folder = drawn_folder(tmp_path, train=12, val=6, sources=("far", "far", "near"))
    table = leave_out(folder, tmp_path / "out", 1, print, steps=1, adapt=tiny)
    assert taught == [{"far", "near"}, {"near"}, {"far"}]
    for source, asking in (("far", 4), ("near", 2)):
        (line,) = (line for line in table.read_text().splitlines() if line.startswith(f"| {source} | {asking} |"))
        shown = re.findall(r"([\d.]+) \(([\d.]+)\)", line)
        both = (json.loads((tmp_path / "out" / f"{run}-1-steps-seed-1.json").read_text()) for run in
                (f"without-{source}", "all"))  # fmt: skip
        without, seen = (one[source] for one in both)
        names = ("iou", "lungs_iou", "three", "binary")
        assert shown == [(f"{without[name]:.3f}", f"{seen[name]:.3f}") for name in names if name in without]
        assert len(shown) >= 2
    assert leave_out(folder, tmp_path / "out", 1, print, steps=1, adapt=tiny) == table
    assert len(taught) == 3


def test_one_source_alone_cannot_be_left_out(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="films of two are needed"):
        leave_out(drawn_folder(tmp_path, val=2), tmp_path / "out", 1, print, steps=1, adapt=tiny)
