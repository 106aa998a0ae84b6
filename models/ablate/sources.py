"""`python -m models.ablate.sources --data DIR --out DIR`: what a model loses on films of a source that it has not seen.

Each source is left out in turn, of what is learnt and of what is fitted afterwards; a run that has seen all stands
beside. Both are judged on the source's films of split `val`: how well boxes are found, and P@5 at true boxes. What is
searched is the same in both, with films of the source: a hospital's own films are indexed, seen in training or not.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from models.ablate.command import carry_out, parser
from models.ablate.described import describe
from models.ablate.run import Note, Sides, learnt, load_sides, retrieved, write_figures
from models.data.dataset import read_films
from models.data.tensors import FilmTensors
from models.evaluate.detection import found_overlaps
from models.network import RegionNetwork
from models.train.config import TrainConfig, read_config
from models.train.loop import Run
from regionmir.core.anatomy import anatomy_by_name
from regionmir.core.errors import ConfigurationError

CONFIG = "ablation/settled"
_LUNGS = [anatomy_by_name(name).key - 1 for name in ("right lung", "left lung")]
_COLUMNS = {
    "iou": "mean IoU", "lungs_iou": "lungs' IoU", "three": "P@5, three classes", "binary": "P@5, normal or pneumonia",
}  # fmt: skip

Figures = dict[str, dict[str, float]]
"""By source."""


def leave_out(
    data: Path,
    out: Path,
    seed: int,
    note: Note,
    *,
    steps: int | None = None,
    adapt: Callable[[TrainConfig], TrainConfig] = lambda config: config,
) -> Path:
    """Write `sources.md` to `out` and return it; what is finished there already is kept.

    `steps` replaces the budget of every run and `adapt` changes its configuration. Raises `DataError`, or
    `ConfigurationError` where fewer than two sources have films in both splits.
    """
    config = adapt(replace(read_config(CONFIG), seed=seed))
    config = replace(config, steps=steps or config.steps)
    sides = load_sides(read_films(data), config.network.side)
    sources = sorted(_sources(sides.training) & _sources(sides.queries))
    if len(sources) < 2:
        raise ConfigurationError("to leave a source out, films of two are needed in the splits `train` and `val`")
    out.mkdir(parents=True, exist_ok=True)
    found: dict[str | None, Figures] = {}
    for left_out in (None, *sources):
        name = f"without-{left_out}" if left_out else "all"
        file = out / f"{name}-{config.steps}-steps-seed-{seed}.json"
        if not file.is_file():
            note(f"{file.stem}: {config.steps} steps")
            training, fitted = (_without(films, left_out) for films in (sides.training, sides.database))
            run = learnt(config, training, fitted, note)
            write_figures(file, _judged(run, sides, [left_out] if left_out else sources))
        found[left_out] = json.loads(file.read_text(encoding="utf-8"))
    return _table(out / "sources.md", found, sides, f"{config.steps} steps, seed {seed}")


def _sources(films: FilmTensors) -> set[str]:
    return {film.source for film in films.films}


def _only(films: FilmTensors, source: str) -> FilmTensors:
    return films.take(torch.tensor([film.source == source for film in films.films]).nonzero().squeeze(-1))


def _without(films: FilmTensors, source: str | None) -> FilmTensors:
    return films.take(torch.tensor([film.source != source for film in films.films]).nonzero().squeeze(-1))


def _judged(run: Run, sides: Sides, sources: list[str]) -> Figures:
    network, config = run.average, run.config
    base = describe(network, sides.database, run.device, config.bf16)
    figures: Figures = {}
    for source in sources:
        films = _only(sides.queries, source)
        asked = describe(network, films, run.device, config.bf16)
        figures[source] = _overlaps(network, films, run) | retrieved(base, asked)
    return figures


def _overlaps(network: RegionNetwork, films: FilmTensors, run: Run) -> dict[str, float]:
    """Return the mean overlap of the boxes found with the true ones, over all anatomies and over the lungs."""
    found, known = found_overlaps(network, films, run.device, bf16=run.config.bf16), films.known.numpy()
    lungs = found[:, _LUNGS][known[:, _LUNGS]]
    return {"iou": float(found[known].mean())} | ({"lungs_iou": float(lungs.mean())} if len(lungs) else {})


def _table(file: Path, found: dict[str | None, Figures], sides: Sides, budget: str) -> Path:
    """Write a line for each source: each figure where it was left out, and in brackets where it was not."""
    lines = [("source left out", "films that ask", *_COLUMNS.values()), ("---",) * (2 + len(_COLUMNS))]
    for source, seen in found[None].items():
        asking = sum(film.source == source for film in sides.queries.films)
        pairs = ((found[source][source].get(name), seen.get(name)) for name in _COLUMNS)
        lines.append(
            (source, str(asking), *("-" if a is None or b is None else f"{a:.3f} ({b:.3f})" for a, b in pairs))
        )
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    file.write_text(f"# One source left out\n\n{budget}; in brackets: none left out.\n\n{table}\n", encoding="utf-8")
    return file


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    options = parser("models.ablate.sources", __doc__)
    options.add_argument("--seed", type=int, default=1)
    asked = options.parse_args()
    return carry_out(asked.threads, lambda note: leave_out(asked.data, asked.out, asked.seed, note, steps=asked.steps))


if __name__ == "__main__":
    sys.exit(main())
