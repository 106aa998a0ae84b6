"""`regionmir export`: what leaves a node as files."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from regionmir.admin.bars import progress_bars
from regionmir.admin.context import JSON, open_database, print_json, settings_in_force
from regionmir.core.errors import ConfigurationError
from regionmir.core.settings import Settings

if TYPE_CHECKING:
    from regionmir.admin.labels import Labels
    from regionmir.admin.training_export import Exported


def add_to(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(export)


def export(
    training: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Folder for films, boxes and splits; new or empty.")
    ] = None,
    parquet: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Folder for tables of instances, regions and labels.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="CSV: finding, sop_instance_uid or accession_number.")] = None,
    size: Annotated[int, typer.Option(min=0, help="Longer side of a picture at most, in pixels; 0: as stored.")] = 1024,
    val_percent: Annotated[int, typer.Option(min=0, max=100, help="Share of patients in split val.")] = 10,
    test_percent: Annotated[int, typer.Option(min=0, max=100, help="Share of patients in split test.")] = 10,
    generation: Annotated[
        int | None, typer.Option(help="Of --parquet: whose regions; default: of the one that searches use.")
    ] = None,
    as_json: bool = JSON,
) -> None:
    """Write the indexed films as a folder to train on: pseudonymous patients, boxes as detected, splits by patient.

    Films that may show a burned-in name stay. An interrupted export goes on when it is started again in the same way.
    With --parquet instead: tables under the same pseudonyms, regions with their embeddings, for pandas or DuckDB.

    Example: regionmir export --training films --labels findings.csv

    Example: regionmir export --parquet tables
    """
    if (training is None) == (parquet is None):
        raise ConfigurationError("say what to export: --training OUT or --parquet OUT")
    settings = settings_in_force()
    if parquet is not None:
        _export_tables(settings, parquet, generation, as_json)
    elif training is not None:
        _export_films(settings, training, labels, (size, val_percent, test_percent), as_json)


def _export_tables(settings: Settings, out: Path, generation: int | None, as_json: bool) -> None:
    from db import audit
    from regionmir.admin.parquet_export import export_parquet

    with open_database(settings) as database:
        rows = export_parquet(database, out, generation)
        with database.session() as session:
            audit.record(session, "table export", actor="operator", address="", detail=asdict(rows))
    if as_json:
        print_json(asdict(rows))
    else:
        typer.echo(f"{rows.instances} instances, {rows.regions} regions with embeddings, {rows.labels} labels in {out}")


def _export_films(
    settings: Settings, training: Path, labels: Path | None, sizes: tuple[int, int, int], as_json: bool
) -> None:
    from db import audit
    from regionmir.admin.labels import Labels, read_labels
    from regionmir.admin.training_export import ExportOptions, export_training
    from regionmir.storage import open_store

    options, known = ExportOptions(*sizes), read_labels(labels) if labels else Labels({})
    with open_database(settings) as database, progress_bars() as stages:
        made = export_training(
            database,
            open_store(settings),
            training,
            options,
            known,
            max_pixels=settings.max_pixels,
            progress=lambda done, total: stages("films", done, total),
        )
        with database.session() as session:
            audit.record(session, "training export", actor="operator", address="", detail=asdict(made))
    _print(made, known, training, as_json)


def _print(made: "Exported", labels: "Labels", out: Path, as_json: bool) -> None:
    if as_json:
        print_json({**asdict(made), "labels_unused": labels.unused})
        return
    typer.echo(f"{made.films} films with {made.boxes} boxes in {out}, {made.labelled} with a finding")
    for reason, count in made.left_out.items():
        typer.echo(f"left out: {count} ({reason})")
    if labels.unused:
        typer.echo(f"labels that name no exported film: {labels.unused}")
    typer.echo(f"look at it: regionmir model check-data {out}")
