"""`report.md` of a run: its configuration, its films, how losses fell, and how to judge the model."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from models.registry import ModelCard
from models.train.loop import Curve, Run

REPORT = "report.md"


def write_report(run: Run, card: ModelCard, data: Path, out: Path) -> Path:
    """Write `report.md` of a finished `run` on `data` into `out` and return it."""
    config = dataclasses.asdict(run.config)
    losses = config.pop("weights") | {}
    network = config.pop("network")
    settings = config | {f"network.{k}": v for k, v in network.items()} | {f"weights.{k}": v for k, v in losses.items()}
    training = {k: v for k, v in card.training.items() if k != "config"}
    sections = (
        f"# Training of {card.name} {card.version}\n\n{run.config.description}.",
        "## Run\n\n" + _table(("", ""), training.items()),
        "## Losses\n\nMeans over each tenth of the run; `total` is their weighted sum.\n\n" + _curve(run.curve),
        "## Validation\n\n" + _validation(run.validations),
        "## Configuration\n\n" + _table(("setting", "value"), settings.items()),
        f"## Full report\n\n```\n{judging_command(data, out)}\n```",
    )
    file = out / REPORT
    file.write_text("\n\n".join(sections) + "\n", encoding="utf-8")
    return file


def judging_command(data: Path, out: Path) -> str:
    """Return the command that judges the model in `out` and writes the full report with plots beside it."""
    return f"regionmir model evaluate --model {out} --database {data} --queries {data} --report {out}/evaluation"


def _curve(curve: Curve) -> str:
    names = ["total", *sorted({n for tenth in curve for n in tenth} - {"total"})]
    rows = []
    for i, tenth in enumerate(curve):
        if tenth:
            means = (f"{tenth[n][0] / tenth[n][1]:.3f}" if n in tenth else "-" for n in names)
            rows.append((f"{10 * i}-{10 * i + 10} %", tenth["total"][1], *means))
    return _table(("run", "steps", *names), rows) if rows else "No step was taken."


def _validation(validations: Sequence[dict[str, float]]) -> str:
    if not validations:
        return "None: the data have no split `val`, or `validate_minutes` is 0."
    rows = [(f"{100 * v['share']:.0f} %", int(v["step"]), f"{v['iou']:.3f}", f"{v['loss']:.3f}") for v in validations]
    return "Of the running average of the weights, before calibration.\n\n" + _table(
        ("run", "step", "mean IoU", "loss"), rows
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
