"""`regionmir backup` and `regionmir restore`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars

from regionmir.admin.context import JSON, console, open_database, print_json, settings_in_force
from regionmir.core.errors import ConfigurationError
from regionmir.core.settings import load_settings

if TYPE_CHECKING:
    from regionmir.admin.backup.contents import Manifest
    from regionmir.admin.backup.making import Progress

_SHOWN = 50
_OBJECTS_FROM = typer.Option(
    None, "--objects-from", help="Folder with the objects of a backup that was made with --objects manifest."
)

app = typer.Typer(invoke_without_command=True)


@app.callback()
def backup(
    context: typer.Context,
    out: Path | None = typer.Option(None, "--out", help="New or empty folder to write the backup to."),
    objects: str = typer.Option(
        "copy", "--objects", help="copy; link (hard links, same file system); manifest (list them only)."
    ),
    as_json: bool = JSON,
) -> None:
    """Write a backup while everything runs: one state of the database, and every object that it speaks of.

    The backup holds patients' data and the secret behind the pseudonyms: keep it as safe as the archive itself.
    Exit code 1 where an object was missing or damaged; all else is in the backup then.

    Example: regionmir backup --out /backup/2030-01-01
    """
    if context.invoked_subcommand is not None:
        return
    from db import audit
    from regionmir.admin.backup.contents import ObjectsMode
    from regionmir.admin.backup.making import make_backup

    if out is None:
        raise ConfigurationError("say with --out where to: regionmir backup --out /backup/2030-01-01")
    if objects not in set(ObjectsMode):
        raise ConfigurationError(f"--objects may be {', '.join(ObjectsMode)}, not {objects[:40]!r}")
    settings = settings_in_force()
    with open_database(settings) as database, _progress() as progress:
        made = make_backup(database, settings, out, ObjectsMode(objects), progress)
        with database.session() as session:
            detail = {"objects": made.objects, "mode": made.mode.value, "faults": len(made.faults)}
            audit.record(session, "backup made", actor="operator", address="", detail=detail)
    _tell(f"backed up to {out}", made, made.faults, as_json)


@app.command()
def verify(
    folder: Path = typer.Argument(metavar="FOLDER", help="The backup."),
    objects_from: Path | None = _OBJECTS_FROM,
    as_json: bool = JSON,
) -> None:
    """Read every file and every object of a backup and compare its hash. Needs neither database nor data folder.

    Exit code 1 where it could not be restored whole.

    Example: regionmir backup verify /backup/2030-01-01
    """
    from regionmir.admin.backup import checking, contents

    manifest = contents.read_manifest(folder)
    with _progress() as progress:
        faults = {fault.name: fault.what for fault in checking.verify(folder, objects_from, progress)}
    looked_at = manifest.mode is not contents.ObjectsMode.MANIFEST or objects_from is not None
    _tell(f"verified {folder}" + ("" if looked_at else " (objects are only listed)"), manifest, faults, as_json)


def restore(
    from_: Path = typer.Option(..., "--from", help="The backup."),
    data: Path | None = typer.Option(None, "--data", help="Data folder to restore into; unset: that of the settings."),
    objects_from: Path | None = _OBJECTS_FROM,
    as_json: bool = JSON,
) -> None:
    """Restore a backup into an empty data folder and an empty database; run it again if it was interrupted.

    With REGIONMIR_DATABASE_URL the database is that one, else a new one in the data folder. Then start `regionmir up`.
    Exit code 1 where an object could not be restored; all else is.

    Example: regionmir restore --from /backup/2030-01-01 --data /srv/regionmir
    """
    from regionmir.admin.backup.restoring import restore as restore_

    settings = load_settings(**({} if data is None else {"data_dir": data.absolute()}))
    with _progress() as progress:
        manifest = restore_(from_, settings, objects_from, progress)
    _tell(f"restored to {settings.data_dir}", manifest, progress.faults, as_json)


@contextmanager
def _progress() -> "Iterator[Progress]":
    """Give what counts along; it is shown while the block runs."""
    from regionmir.admin.backup.making import Progress

    with Bars(TextColumn("{task.description}"), BarColumn(), console=console, transient=True) as bars:
        task = bars.add_task("...", total=None)

        def show(now: Progress) -> None:
            told = f"{now.step}: {now.objects} of {now.of_objects}, {now.bytes / 1e9:.1f} GB"
            bars.update(task, description=told, completed=now.objects, total=now.of_objects or None)

        yield Progress(show)


def _tell(what: str, manifest: "Manifest", faults: dict[str, str], as_json: bool) -> None:
    """Print the outcome. Ends with exit code 1 where there are faults."""
    if as_json:
        print_json(
            {
                "made_at": manifest.made_at,
                "schema": manifest.schema,
                "mode": manifest.mode.value,
                "objects": manifest.objects,
                "bytes": manifest.bytes,
                "faults": faults,
            }
        )
    else:
        console.print(f"{what}: {manifest.objects} objects, {manifest.bytes / 1e9:.2f} GB, schema {manifest.schema}")
        for name, why in list(faults.items())[:_SHOWN]:
            console.print(f"  {name}: {why}", markup=False)
        if len(faults) > _SHOWN:
            console.print(f"  ... and {len(faults) - _SHOWN} more (--json lists all)")
    if faults:
        raise typer.Exit(1)


def add_to(app_: typer.Typer) -> None:
    """Add the commands to `app_`."""
    app_.add_typer(app, name="backup")
    app_.command()(restore)
