"""`regionmir delete` and `regionmir removed`: take instances out of the archive, and look at what was taken out."""

import getpass
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from regionmir.admin.context import JSON, console, open_database, open_session, print_json, settings_in_force
from regionmir.core.errors import ConfigurationError, RegionMirError
from regionmir.core.identifiers import parse_uid

if TYPE_CHECKING:
    from db.engine import Session
    from db.patients import KnownPatient
    from db.removal import Extent, Level, Which

app = typer.Typer(no_args_is_help=True, help="Delete instances, studies or patients, with all that was made of them.")
removed_app = typer.Typer(no_args_is_help=True, help="What was deleted or rejected, and showing hidden ones again.")

REASON = typer.Option(help="Why; kept in the audit trail.")
YES = typer.Option(False, "--yes", help="Do not ask.")
DRY_RUN = typer.Option(False, "--dry-run", help="Only say what would be done.")
_BLOCK = typer.Option(False, "--block", help="Refuse it if it is ever sent again; else it is then new.")
_SHOWN = 50


@app.command()
def instance(
    uid: str = typer.Argument(metavar="UID", help="SOP Instance UID."),
    reason: str = REASON,
    block: bool = _BLOCK,
    yes: bool = YES,
    dry_run: bool = DRY_RUN,
    as_json: bool = JSON,
) -> None:
    """Delete one instance.

    Example: regionmir delete instance 1.2.840.113619.2.5.1762583153 --reason "wrong patient on the table"
    """
    _delete("instance", parse_uid(uid), None, reason, block=block, yes=yes, dry_run=dry_run, as_json=as_json)


@app.command()
def study(
    uid: str = typer.Argument(metavar="UID", help="Study Instance UID."),
    reason: str = REASON,
    block: bool = _BLOCK,
    yes: bool = YES,
    dry_run: bool = DRY_RUN,
    as_json: bool = JSON,
) -> None:
    """Delete one study.

    Example: regionmir delete study 1.2.840.113619.2.5.1762583153.215519 --reason "sent by mistake" --block
    """
    _delete("study", parse_uid(uid), None, reason, block=block, yes=yes, dry_run=dry_run, as_json=as_json)


@app.command()
def patient(
    patient_id: str = typer.Argument(metavar="ID", help="PatientID."),
    issuer: str | None = typer.Option(None, help="Issuer of the PatientID; needed where two issuers gave the same."),
    reason: str = REASON,
    block: bool = _BLOCK,
    yes: bool = YES,
    dry_run: bool = DRY_RUN,
    as_json: bool = JSON,
) -> None:
    """Delete all studies of one patient.

    Example: regionmir delete patient 4711 --reason "withdrew consent" --dry-run
    """
    _delete("patient", patient_id, issuer, reason, block=block, yes=yes, dry_run=dry_run, as_json=as_json)


@removed_app.command("list")
def list_(
    limit: int | None = typer.Option(None, min=1, help=f"At most so many (as text {_SHOWN} unless told, as JSON all)."),
    as_json: bool = JSON,
) -> None:
    """List instances that were taken out, the newest first: why, what is done if they come again, what is kept.

    Example: regionmir removed list
    """
    from db import removed

    with open_session() as session:
        found = removed.listing(session, limit=limit if as_json else limit or _SHOWN)
    if as_json:
        print_json([{**asdict(one), "is_kept": one.is_kept} for one in found])
        return
    table = Table("SOP Instance UID", "why", "sent again", "object", "by", "when", box=None, pad_edge=False)
    for one in found:
        kept = "kept" if one.is_kept else "-"
        when = f"{one.removed_at:%Y-%m-%d %H:%M}"
        table.add_row(one.sop_instance_uid, one.why.value, one.again.value, kept, one.removed_by, when)
    console.print(table)


@removed_app.command()
def restore(
    uid: str = typer.Argument(metavar="UID", help="SOP Instance UID of a hidden instance."),
    reason: str = REASON,
    as_json: bool = JSON,
) -> None:
    """Show a hidden instance again: its kept object is filed as if it had just been sent, and indexed.

    Example: regionmir removed restore 1.2.840.113619.2.5.1762583153 --reason "rejected by mistake"
    """
    from regionmir.archive.restoring import restore as show_again
    from regionmir.storage import open_store

    named = parse_uid(uid)
    settings = settings_in_force()
    pseudonymizer = settings.pseudonymizer()
    with open_database(settings) as database, closing(open_store(settings)) as store:
        show_again(database, store, pseudonymizer, named, by=getpass.getuser(), reason=reason)
    if as_json:
        print_json({"sop_instance_uid": named, "shown": True})
    else:
        typer.echo(f"{named} is shown again, once it is indexed")


def known_patient(session: "Session", patient_id: str, issuer: str | None) -> "KnownPatient":
    """Return the patient of this PatientID. Raises `RegionMirError` where it is none or several."""
    from db import patients

    found = patients.find(session, patient_id, issuer)
    if not found:
        raise RegionMirError("no patient here has this PatientID")
    if len(found) > 1:
        raise RegionMirError("several issuers gave this PatientID: say which with --issuer")
    return found[0]


def _matched(session: "Session", level: "Level", name: str, issuer: str | None) -> "Which":
    from db import removal

    return removal.named(level, known_patient(session, name, issuer).key if level == "patient" else name)


def confirm(question: str, *, yes: bool, as_json: bool) -> None:
    """Return if the operator agrees. Raises `ConfigurationError` where a program cannot be asked."""
    if yes:
        return
    if as_json:
        raise ConfigurationError("with --json give --yes, or --dry-run to see what would be done")
    typer.confirm(question, abort=True)


def _delete(
    level: "Level", name: str, issuer: str | None, reason: str, *, block: bool, yes: bool, dry_run: bool, as_json: bool
) -> None:
    from db import removal
    from db.removed import Again
    from regionmir.archive.removing import remove_objects
    from regionmir.storage import open_store

    settings = settings_in_force()
    with open_database(settings) as database, closing(open_store(settings)) as store:
        with database.session() as session:
            extent = removal.measure(session, _matched(session, level, name, issuer))
        if not extent.studies:
            raise RegionMirError(f"there is no such {level}; see `regionmir instances list`")
        if dry_run:
            _tell(extent, "would be deleted", as_json, dry_run=True)
            return
        confirm(f"Delete {_words(extent)}?", yes=yes, as_json=as_json)
        by = removal.Removal(getpass.getuser(), reason, again=Again.REFUSE if block else Again.ACCEPT)
        with database.session() as session:
            extent = removal.remove(session, _matched(session, level, name, issuer), by)
        gone = remove_objects(database, store)
    _tell(extent, "deleted", as_json, objects_removed=gone)


def _tell(extent: "Extent", what: str, as_json: bool, **more: Any) -> None:
    if as_json:
        print_json({**asdict(extent), "dry_run": False, **more})
    else:
        typer.echo(f"{what}: {_words(extent)}")


def _words(extent: "Extent") -> str:
    made = f"{extent.answers} answers and {extent.deliveries} results of them"
    size = f"{extent.objects} objects of {extent.bytes / 1e6:.1f} MB"
    return f"{extent.instances} instances of {extent.studies} studies of {extent.patients} patients ({size}), {made}"


def add_to(main: typer.Typer) -> None:
    """Add the commands to `main`."""
    main.add_typer(app, name="delete")
    main.add_typer(removed_app, name="removed")
