"""Train and judge every variant for every seed; what is finished already is not done again."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from models.ablate.described import Described, by_boxes, describe
from models.ablate.rows import BOX_ONLY, ROWS
from models.ablate.table import Results, write_table
from models.data.dataset import read_films
from models.data.films import Film
from models.data.tensors import FilmTensors, load_films
from models.evaluate.figures import Figure
from models.evaluate.retrieval import (
    anatomy_cases,
    finding_cases,
    normal_or_pneumonia,
    participation_ratio,
    three_classes,
)
from models.train.calibrate import calibrate
from models.train.config import TrainConfig, read_config
from models.train.loop import Progress, Run, train_run
from models.train.run import imagenet_weights, training_films
from regionmir.core.errors import ConfigurationError

Note = Callable[[str], None]
SEARCHED = 2
"""One in so many of the training films is searched: all of them would take longer to describe than to learn from."""


@dataclass(frozen=True, slots=True)
class Sides:
    """The films to learn from, those that are searched, and those that ask."""

    training: FilmTensors
    database: FilmTensors
    """Every `SEARCHED`-th of them: to fit in closed form and to search"""
    queries: FilmTensors


def ablate(
    data: Path,
    out: Path,
    seeds: Sequence[int],
    note: Note,
    *,
    steps: int | None = None,
    adapt: Callable[[TrainConfig], TrainConfig] = lambda config: config,
) -> Path:
    """Write `ablation.md` to `out` and return it: splits `train` (database) and `val` (queries) of the folder `data`.

    Each finished training leaves a JSON file; a second call goes on after the last one. `steps` replaces the budget of
    every variant and `adapt` changes its configuration. Raises `DataError` or `ConfigurationError`.
    """
    configs = {row.config: adapt(_budgeted(read_config(f"ablation/{row.config}"), steps)) for row in ROWS}
    (side,) = {config.network.side for config in configs.values()}
    sides = load_sides(read_films(data), side)
    out.mkdir(parents=True, exist_ok=True)
    results: Results = {BOX_ONLY.config: [retrieved(*_boxes_of(sides))]}
    for seed in seeds:
        for name, config in configs.items():
            file = out / f"{name}-{config.steps}-steps-seed-{seed}.json"
            if not file.is_file():
                note(f"{name}, seed {seed}: {config.steps} steps")
                write_figures(file, _trained(replace(config, seed=seed), sides, note))
            results.setdefault(name, []).append(json.loads(file.read_text(encoding="utf-8")))
    return write_table(out / "ablation.md", results, _heading(configs, sides, seeds))


def _budgeted(config: TrainConfig, steps: int | None) -> TrainConfig:
    return replace(config, steps=steps) if steps else config


def load_sides(films: list[Film], side: int) -> Sides:
    """Return the films to compare variants by. Raises `DataError`, and `ConfigurationError` without split `val`."""
    chosen, _ = training_films(films)
    asking = [f for f in films if f.split == "val"]
    if not asking:
        raise ConfigurationError("the data have no split `val` to judge by")
    return Sides(load_films(chosen, side), load_films(chosen[::SEARCHED], side), load_films(asking, side))


def _trained(config: TrainConfig, sides: Sides, note: Note) -> dict[str, float]:
    """Return the figures of one variant and one seed."""
    run = learnt(config, sides.training, sides.database, note)
    base, asked = (describe(run.average, films, run.device, config.bf16) for films in (sides.database, sides.queries))
    return retrieved(base, asked) | _spread(asked) | {"seconds": round(run.elapsed_s, 1)}


def learnt(config: TrainConfig, training: FilmTensors, fitted: FilmTensors, note: Note) -> Run:
    """Return a run of `config` that has learnt from `training`, its average calibrated on the films `fitted`."""
    run = Run(config, training, imagenet_weights() if config.imagenet else None)

    def told(progress: Progress) -> None:
        note(f"  step {progress.step}, {progress.elapsed_s:.0f} s, total {progress.total:.3f}")

    train_run(run, None, told)
    calibrate(run.average, fitted, config, lambda _done, _total: None)
    return run


def _spread(asked: Described) -> dict[str, float]:
    """Return the mean participation ratio over the anatomies whose vectors are not all one point."""
    shown = [asked.told.vectors[found, slot] for slot, found in enumerate(asked.told.found.T) if found.sum() > 2]
    ratios = [ratio for ratio in map(participation_ratio, shown) if ratio > 0]
    return {"participation": sum(ratios) / len(ratios)} if ratios else {}


def _boxes_of(sides: Sides) -> tuple[Described, Described]:
    return by_boxes(sides.database, asking=False), by_boxes(sides.queries, asking=True)


def retrieved(base: Described, asked: Described) -> dict[str, float]:
    """Return what films `asked` find among `base`; a figure that cannot be computed is left out."""
    relabels = {"three": three_classes, "binary": normal_or_pneumonia}
    cases = finding_cases(base.told, asked.told, relabels)
    three, binary = (cases[name].figures() for name in relabels)
    found = {
        "three": three.get("p_at_5"),
        "three_by_chance": three.get("prevalence"),
        "binary": binary.get("p_at_5"),
        "binary_by_chance": binary.get("prevalence"),
        "anatomy": anatomy_cases(base.free, asked.free).figures().get("p_at_1"),
    }
    return {name: figure.value for name, figure in found.items() if isinstance(figure, Figure)}


def write_figures(file: Path, figures: Mapping[str, object]) -> None:
    """Write `figures` as JSON, whole or not at all."""
    part = file.with_suffix(".part")
    part.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    part.replace(file)


def _heading(configs: dict[str, TrainConfig], sides: Sides, seeds: Sequence[int]) -> str:
    steps = sorted({config.steps for config in configs.values() if not config.untrained})
    budget = f"{', '.join(str(s) for s in steps)} steps for each trained line, seeds {', '.join(map(str, seeds))}"
    films = (
        f"{len(sides.training)} films to learn from, {len(sides.database)} of them searched, {len(sides.queries)} ask"
    )
    return f"{films}. {budget}."
