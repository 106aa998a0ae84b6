"""`regionmir fsck`: are all objects that were acknowledged on the disk, whole, and is nothing else there?"""

from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn

from regionmir.admin.context import JSON, console, open_database, print_json, settings_in_force

if TYPE_CHECKING:
    from db.engine import Database
    from regionmir.admin.object_check import Finding
    from regionmir.core.settings import Settings

_HOUR_S = 3600.0
_SHOWN = 50


def fsck(
    deep: bool = typer.Option(False, "--deep", help="Read every object and compare its hash with the one received."),
    set_aside: bool = typer.Option(
        False,
        "--set-aside",
        help="Move files that no row speaks of to the folder 'unreferenced' of the data folder; end deletions that "
        "were cut off.",
    ),
    older_than_h: float = typer.Option(
        24.0, "--older-than", min=0.02, help="Hours: younger files without a row may be arriving and are passed over."
    ),
    as_json: bool = JSON,
) -> None:
    """Compare the objects on the disk with the database, both ways. Safe while everything runs; nothing is deleted but
    what was deleted already.

    Exit code 1 where an object that was acknowledged is missing or damaged: get it again from its PACS or a backup.

    Examples: regionmir fsck; regionmir fsck --deep --json
    """
    settings = settings_in_force()
    with open_database(settings) as database:
        findings, objects = _checked(settings, database, deep, older_than_h * _HOUR_S)
        moved = _set_aside(settings, findings, older_than_h * _HOUR_S) if set_aside else 0
        ended = _end_deletions(settings, database) if set_aside else 0
        _audit(database, findings, moved, deep)
    faults = Counter(finding.fault.value for finding in findings)
    if as_json:
        print_json(
            {
                "objects": objects,
                "deep": deep,
                "faults": dict(faults),
                "set_aside": moved,
                "removed": ended,
                "findings": [_line(finding) for finding in findings],
            }
        )
    else:
        _print(findings, objects, faults, moved, ended)
    if faults["missing"] or faults["damaged"]:
        raise typer.Exit(1)


def _checked(
    settings: "Settings", database: "Database", deep: bool, older_than_s: float
) -> tuple[list["Finding"], int]:
    from regionmir.admin.object_check import Checked, check_objects
    from regionmir.storage import open_store

    checked = Checked()
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), console=console, transient=True) as bar:
        task = bar.add_task("comparing ...")

        def show(now: Checked) -> None:
            bar.update(task, description=f"{now.objects} objects, {now.bytes / 1e9:.1f} GB")

        store = open_store(settings)
        found = check_objects(database, store, deep=deep, older_than_s=older_than_s, checked=checked, progress=show)
        return list(found), checked.objects


def _set_aside(settings: "Settings", findings: list["Finding"], older_than_s: float) -> int:
    from regionmir.storage import open_store

    store = open_store(settings)
    left_over = [finding for finding in findings if finding.fault == "unreferenced"]
    return sum(store.set_aside(finding.storage_key, older_than_s) for finding in left_over)


def _end_deletions(settings: "Settings", database: "Database") -> int:
    """Remove what is left of deleted instances; return how many objects."""
    from regionmir.archive.removing import remove_objects
    from regionmir.storage import open_store

    with closing(open_store(settings)) as store:
        return remove_objects(database, store)


def _audit(database: "Database", findings: list["Finding"], moved: int, deep: bool) -> None:
    from db import audit

    with database.session() as session:
        detail = {"findings": len(findings), "set_aside": moved, "deep": deep}
        audit.record(session, "fsck", actor="operator", address="", detail=detail)


def _line(finding: "Finding") -> dict[str, str]:
    return {
        "fault": finding.fault.value,
        "sop_instance_uid": finding.sop_instance_uid,
        "storage_key": finding.storage_key,
        "what": finding.what,
    }


def _print(findings: list["Finding"], objects: int, faults: Counter[str], moved: int, ended: int) -> None:
    for finding in findings[:_SHOWN]:
        name = finding.sop_instance_uid or finding.storage_key
        console.print(f"{finding.fault.value:<12} {name}  {finding.what}")
    if len(findings) > _SHOWN:
        console.print(f"... and {len(findings) - _SHOWN} more (--json lists all)")
    told = ", ".join(f"{count} {fault}" for fault, count in sorted(faults.items())) or "all as it should be"
    console.print(
        f"{objects} objects: {told}"
        + (f"; {moved} set aside" if moved else "")
        + (f"; {ended} removed" if ended else "")
    )


def add_to(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(fsck)
