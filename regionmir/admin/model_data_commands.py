"""`regionmir model check-data`: what a data set holds, before a model is trained on it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from regionmir.admin.bars import progress_bars
from regionmir.admin.context import JSON, console, print_json

if TYPE_CHECKING:
    from models.data.check import DataReport

_SHOWN_PAIRS = 20


def add_to(app: typer.Typer) -> None:
    """Add the command to `app`, the group `model`."""
    app.command("check-data")(check_data_command)


def check_data_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of films, export, or Chest ImaGenome.")],
    images: Annotated[Path | None, typer.Option(help="Copy of MIMIC-CXR(-JPG); else looked for beside DIR.")] = None,
    pixels: Annotated[bool, typer.Option(help="Read every image and mask, and look for near duplicates.")] = True,
    as_json: bool = JSON,
) -> None:
    """Say what a data set holds: films, patients, boxes, findings, noise, near duplicates. Exit code 1 on a fault.

    Example: regionmir model check-data films
    """
    from models.data.check import check_data
    from models.data.dataset import open_data

    with progress_bars() as stages:
        report = check_data(open_data(folder, images), stages, pixels=pixels)
    if as_json:
        print_json(report.as_json())
        return
    _print(report)


def _print(report: "DataReport") -> None:
    totals = report.as_json()
    console.print(f"{report.kind}: {totals['films']:,} films of {totals['patients']:,} patients")
    console.print(_splits_table(report))
    console.print(_boxes_table(report))
    for table in (_films_table(report), _regions_table(report)):
        if table.row_count:
            console.print(table)
    if report.persons_in_two_splits:
        count = report.persons_in_two_splits
        console.print(f"persons that may be the same in two splits: {count}; training withholds their films")
    console.print("noise, survived: " + ("" if report.noise else "none"))
    for kind, count in report.noise.items():
        console.print(f"{count:>9,}  {kind}", markup=False)
    _print_pairs(report)


def _splits_table(report: "DataReport") -> Table:
    table = Table("split", "films", "patients", "masks", "boxes", box=None, pad_edge=False)
    for name, split in report.splits.items():
        counts = (split.films, len(split.patients), split.masks, split.boxes.total())
        table.add_row(name, *(f"{count:,}" for count in counts))
    return table


def _boxes_table(report: "DataReport") -> Table:
    from regionmir.core.anatomy import anatomies

    table = Table("boxes of", *report.splits, box=None, pad_edge=False)
    for anatomy in anatomies():
        counts = [split.boxes[anatomy.name] for split in report.splits.values()]
        if any(counts):
            table.add_row(anatomy.name, *(f"{count:,}" for count in counts))
    return table


def _films_table(report: "DataReport") -> Table:
    table = Table("films with finding", *report.splits, box=None, pad_edge=False)
    names = sorted({name for split in report.splits.values() for name in split.findings})
    for name in names:
        table.add_row(name or "(unknown)", *(f"{split.findings[name]:,}" for split in report.splits.values()))
    return table


def _regions_table(report: "DataReport") -> Table:
    heads = [f"{name}: {word}" for name in report.splits for word in ("stated", "denied")]
    table = Table("regions with finding", *heads, box=None, pad_edge=False)
    splits = report.splits.values()
    for name in sorted({name for split in splits for name in (*split.stated, *split.denied)}):
        table.add_row(name, *(f"{count[name]:,}" for split in splits for count in (split.stated, split.denied)))
    return table


def _print_pairs(report: "DataReport") -> None:
    pairs = report.near_duplicates
    if pairs is None:
        console.print("near duplicates across splits: not looked for")
        return
    console.print(f"near duplicates across splits: {len(pairs)}")
    for pair in pairs[:_SHOWN_PAIRS]:
        films = f"{pair.first.name} ({pair.first.split}), {pair.second.name} ({pair.second.split})"
        console.print(f"  {films}: r {pair.correlation:.3f}, {pair.bits} of 256 bits differ", markup=False)
    if len(pairs) > _SHOWN_PAIRS:
        console.print(f"  ... and {len(pairs) - _SHOWN_PAIRS} more; --json lists all")
