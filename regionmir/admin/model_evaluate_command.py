"""`regionmir model evaluate`: judge a model, print its figures, write them, the data behind them and a report."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from regionmir.admin.model_console import complaints, console, or_complain
from regionmir.admin.model_tables import tables
from regionmir.core.errors import ConfigurationError

if TYPE_CHECKING:
    from models.evaluate.judging import Progress
    from models.evaluate.neighbours import Search
    from models.evaluate.run import Evaluation


def evaluate_command(
    database: Annotated[Path, typer.Option(help="Folder whose films are searched.")],
    queries: Annotated[Path, typer.Option(help="Folder whose films ask.")],
    database_split: Annotated[str, typer.Option(help="Split of --database.")] = "train",
    query_split: Annotated[str, typer.Option(help="Split of --queries.")] = "val",
    model: Annotated[str | None, typer.Option("--model", help="Name of a shipped model, or its folder.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write every figure to this file.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write report.md and its pictures into this folder.")] = None,
    dump: Annotated[Path | None, typer.Option(help="Write boxes, scores and vectors to this .npz file.")] = None,
    group_by: Annotated[str, typer.Option(help="Also judge groups: source,age_group,origin,finding.")] = "",
    negatives: Annotated[Path | None, typer.Option(help="Folder of PNG/JPEG that must be refused.")] = None,
    download: Annotated[bool, typer.Option(help="May fetch images to be refused (34 MB, once).")] = True,
    ann: Annotated[bool, typer.Option(help="Judge the approximate index, in a PostgreSQL started for it.")] = True,
    thorough: Annotated[bool, typer.Option(help="No part looks at a sample only; takes far longer.")] = False,
    threads: Annotated[int, typer.Option(help="CPU threads; 0: all cores.")] = 0,
    device: Annotated[str, typer.Option(help="torch's device: cpu, cuda.")] = "cpu",
) -> None:
    """Judge a model: boxes against true ones, hits of other patients against their findings, what it refuses.

    What each figure means: docs/evaluation.md.

    Examples:

        regionmir model evaluate --database films --queries films

        regionmir model evaluate --database DIR --database-split train --queries DIR --query-split val --json out.json

        regionmir model evaluate --database DIR --queries DIR --group-by source,age_group --report out --dump out.npz
    """
    from models.evaluate.dump import write_dump
    from models.evaluate.report import require_plots, write_report
    from models.evaluate.run import write_json

    columns = tuple(c.strip() for c in group_by.split(",") if c.strip())

    def judge() -> "Evaluation":
        if report:
            require_plots()
        sources = (database, database_split), (queries, query_split)
        return _judged(sources, model, columns, (negatives, download), ann, thorough, (threads, device))

    found = or_complain(judge)
    for table in tables(found.figures):
        console.print(table)
    for target, write in (
        (json_file, partial(write_json, found.figures)),
        (dump, partial(write_dump, found.judged)),
        (report, partial(write_report, found)),
    ):
        if target:
            or_complain(partial(write, target))
            console.print(f"written: {target}", soft_wrap=True)


def _judged(
    sources: tuple[tuple[Path, str], tuple[Path, str]],
    model: str | None,
    columns: tuple[str, ...],
    refused: tuple[Path | None, bool],
    ann: bool,
    thorough: bool,
    machine: tuple[int, str],
) -> "Evaluation":
    from models.evaluate.judging import Effort
    from models.evaluate.run import evaluate
    from models.evaluate.summary import check_columns
    from models.registry import load_model
    from regionmir.admin.model_negatives import negatives

    try:
        check_columns(columns)
    except ValueError as error:
        raise ConfigurationError(f"--group-by: {error}") from None
    loaded = load_model(model, threads=machine[0], device=machine[1])
    images, why_none = negatives(refused[0], download=refused[1])
    with _progress() as told, _index(ann) as (search, no_index):
        found = evaluate(
            loaded,
            *sources,
            group_by=columns,
            effort=Effort.thorough() if thorough else Effort(),
            negatives=images,
            generate=refused[0] is None,
            search=search,
            progress=told,
        )
    notes = {"rejection": why_none, "ann": no_index}
    found.figures["notes"] = {part: why for part, why in notes.items() if why}
    return found


@contextmanager
def _index(wanted: bool) -> "Iterator[tuple[Search | None, str]]":
    """Yield the search of an approximate index, or None and why there is none."""
    from regionmir.admin.model_index import throw_away_index

    with ExitStack() as stack:
        search, why_none = None, "" if wanted else "not wanted"
        if wanted:
            try:
                search = stack.enter_context(throw_away_index())
            except ConfigurationError as error:
                why_none = str(error)
        yield search, why_none


@contextmanager
def _progress() -> "Iterator[Progress]":
    """Yield what shows progress: bars on a terminal, else a line per finished part."""
    columns = (TextColumn("{task.description:14}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    terminal = sys.stderr.isatty()
    with Bars(*columns, console=complaints) if terminal else nullcontext() as bars:
        tasks: dict[str, TaskID] = {}

        def told(what: str, done: int, total: int) -> None:
            if bars is None:
                if done == total:
                    complaints.print(f"{what}: {total}", highlight=False)
                return
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield told
