"""The table of an ablation in Markdown: means over the seeds and their spread."""

import statistics
from pathlib import Path

from models.ablate.rows import BOX_ONLY, PREVALENCE, ROWS, Row

Results = dict[str, list[dict[str, float]]]
"""Figures of each seed, by the variant's name."""

HEAD = ("variant", "P@5, three classes", "P@5, normal or pneumonia", "anatomy of nearest hit", "participation ratio")
COLUMNS = ("three", "binary", "anatomy", "participation")
NOTES = """\
All lines are judged at true boxes, with the same calibration in closed form. P@5: share of the five nearest regions of
the same anatomy, of other patients, that have the query's finding. Anatomy: how often the nearest region of any anatomy
is of the query's; the network is not told which it asks for. Participation ratio: over how many directions the vectors
of one anatomy spread, mean over the anatomies. Each figure is the mean over the seeds, with their standard deviation
after it. Anatomy is known from box coordinates alone: what counts is the lift of P@5 over that line."""


def write_table(file: Path, results: Results, heading: str) -> Path:
    """Write the table of `results` to `file` and return it; `heading` says of what."""
    lines = [HEAD, ("---",) * len(HEAD), *(_line(row, results) for row in (*ROWS, BOX_ONLY)), _chance(results)]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    file.write_text(f"# Ablation\n\n{heading}\n\n{table}\n\n{NOTES}\n", encoding="utf-8")
    return file


def _line(row: Row, results: Results) -> tuple[str, ...]:
    return row.title, *(_shown(results.get(row.config, []), column) for column in COLUMNS)


def _chance(results: Results) -> tuple[str, ...]:
    boxes = results.get(BOX_ONLY.config, [])
    return PREVALENCE, _shown(boxes, "three_by_chance"), _shown(boxes, "binary_by_chance"), "-", "-"


def _shown(seeds: list[dict[str, float]], column: str) -> str:
    """Return mean and standard deviation of one figure over the seeds; "-" where there is none."""
    values = [figures[column] for figures in seeds if column in figures]
    if not values:
        return "-"
    mean = f"{statistics.fmean(values):.3f}"
    return f"{mean} ± {statistics.stdev(values):.3f}" if len(values) > 1 else mean
