"""`regionmir pacs`: archives whose studies are imported and followed."""

import datetime as dt
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from regionmir.admin.context import JSON, console, open_database, open_session, print_json, settings_in_force
from regionmir.core.errors import ConfigurationError, RegionMirError
from regionmir.core.identifiers import parse_ae_title, parse_uid
from regionmir.core.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from db.engine import Database
    from db.pacs import Pacs
    from regionmir.pacs.following import Followed

app = typer.Typer(no_args_is_help=True, help="Archives whose studies are imported and followed.")

_NAME = typer.Argument(metavar="NAME", help="Our name of the archive.")
_DATES = ["%Y-%m-%d", "%Y%m%d"]


@app.command()
def add(
    name: str = _NAME,
    url: str = typer.Option("", help="Orthanc's REST API, such as http://10.0.0.5:8042; empty: a plain DICOM archive."),
    user: str = typer.Option("", help="User name there."),
    password_file: str = typer.Option("", help="File that holds the password."),
    ae_title: str = typer.Option("", help="The registered peer that the archive is (`regionmir peers add`)."),
    modality: list[str] = typer.Option(["CR", "DX"], help="Import series of this modality; may be repeated; ALL: any."),
    viewer_url: str = typer.Option("", help="Page of a study, with {study_instance_uid} or {remote_id} in it."),
) -> None:
    """Register an archive, or change how it is reached.

    Example: regionmir pacs add main --url http://10.0.0.5:8042 --ae-title ORTHANC
    """
    from db import audit, pacs

    if not url and not ae_title:
        raise ConfigurationError("give --url for an Orthanc, or --ae-title for a plain DICOM archive")
    if not name or not name.replace("-", "").replace("_", "").isalnum() or len(name) > 40:
        raise ConfigurationError("the name of an archive is made of letters, digits, - and _")
    modalities = () if "ALL" in modality else tuple(word.strip().upper() for word in modality)
    made = pacs.Pacs(
        name=name,
        kind="orthanc" if url else "dicom",
        url=_checked_url(url),
        username=user,
        password_file=password_file,
        ae_title=parse_ae_title(ae_title) if ae_title else "",
        modalities=modalities,
        viewer_url=viewer_url,
    )
    with open_session() as session:
        pacs.upsert(session, made)
        audit.record(session, "pacs added", actor="operator", address="", detail={"name": name, "url": made.url})
    typer.echo(f"{name}: {made.kind}; next: regionmir pacs echo {name}, regionmir pacs import {name}")


@app.command("list")
def list_(as_json: bool = JSON) -> None:
    """Print the archives, how many of their studies are here, and whether one waits for your consent.

    Example: regionmir pacs list
    """
    from db import pacs

    with open_session() as session:
        found = [(one, pacs.counts(session, one.name)) for one in pacs.listing(session)]
    if as_json:
        print_json([{**asdict(one), "studies": counts} for one, counts in found])
        return
    if not found:
        typer.echo("no archives; see `regionmir pacs add --help`")
        return
    table = Table("name", "where", "studies", "compared", "stopped", box=None, pad_edge=False)
    for one, counts in found:
        studies = ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "-"
        compared = f"{one.compared_at:%Y-%m-%d %H:%M}" if one.compared_at else "never"
        table.add_row(one.name, one.url or one.ae_title, studies, compared, one.stopped or "-")
    console.print(table)


@app.command()
def remove(name: str = _NAME) -> None:
    """Forget an archive; what was imported from it stays.

    Example: regionmir pacs remove main
    """
    from db import audit, pacs

    with open_session() as session:
        if not pacs.remove(session, name):
            raise _unknown(name)
        audit.record(session, "pacs removed", actor="operator", address="", detail={"name": name})
    typer.echo(f"{name} removed")


@app.command()
def echo(name: str = _NAME, as_json: bool = JSON) -> None:
    """Ask an archive whether it is there: Orthanc by its REST API, any other by C-ECHO.

    Example: regionmir pacs echo main
    """
    from regionmir.pacs.dicom import dicom_backfill
    from regionmir.pacs.source import orthanc_api
    from regionmir.scu.echo import echo as ask

    settings = settings_in_force()
    with open_database(settings) as database:
        one = _get(database, name)
        if one.kind == "orthanc":
            with closing(orthanc_api(one)) as api:
                system = api.system()
            found = {"version": str(system.get("Version", "")), "ae_title": str(system.get("DicomAet", ""))}
        else:
            peer = dicom_backfill(database, one, parse_ae_title(settings.ae_title), settings.tls_files).peer
            found = {"status": f"0x{ask(peer, settings.ae_title).status.code:04X}", "ae_title": peer.ae_title}
    if as_json:
        print_json({"pacs": name, "ok": True, **found})
    else:
        typer.echo(f"{name}: {', '.join(f'{key} {value}' for key, value in found.items())}")


@app.command("import")
def import_(
    name: str = _NAME,
    since: dt.datetime | None = typer.Option(None, formats=_DATES, help="First study date; only for plain DICOM."),
    until: dt.datetime | None = typer.Option(None, formats=_DATES, help="Last study date; only for plain DICOM."),
    as_json: bool = JSON,
) -> None:
    """Import all studies of an archive. It may be stopped at any time: called again, it goes on where it was.

    Example: regionmir pacs import main
    """
    from db import pacs

    settings = settings_in_force()
    with open_database(settings) as database:
        one = _get(database, name)
        if one.kind == "dicom":
            done = _import_dicom(settings, database, one, since, until)
        else:
            from regionmir.pacs.source import follower

            following = follower(settings, database, one)
            with closing(following.api):
                following.begin()
                done = _with_progress(database, one, following.import_all)
        with database.session() as session:
            counts = pacs.counts(session, name)
    _tell(done, counts, as_json)


@app.command()
def sync(
    name: str = _NAME,
    agree: bool = typer.Option(False, "--agree", help="Hide all that is gone, however many they are."),
    as_json: bool = JSON,
) -> None:
    """Look at an Orthanc now: import what is new, hide what it has deleted. The light worker does this by itself.

    Example: regionmir pacs sync main
    """
    from db import pacs
    from regionmir.pacs.source import follower

    settings = settings_in_force()
    with open_database(settings) as database:
        one = _get(database, name)
        if one.kind != "orthanc":
            raise ConfigurationError(
                f"{name} is a plain DICOM archive: it tells no changes; use `regionmir pacs import`"
            )
        following = follower(settings, database, one)
        with closing(following.api):
            done = following.look(agreed=agree, compare=True)
        with database.session() as session:
            counts = pacs.counts(session, name)
    _tell(done, counts, as_json)
    if done.compared is not None and done.compared.stopped:
        raise RegionMirError(
            f"{done.compared.stopped}: none was hidden. If that is right: regionmir pacs sync {name} --agree"
        )


@app.command("open")
def open_(study: str = typer.Argument(metavar="STUDY_UID", help="Study Instance UID.")) -> None:
    """Print where people see a study in the archives that have it.

    Example: regionmir pacs open 1.2.3.4
    """
    from db import pacs
    from regionmir.pacs.source import viewer_link

    with open_session() as session:
        links = pacs.links(session, parse_uid(study))
    if not links:
        raise RegionMirError("no archive that we follow has this study")
    for one, remote_id in links:
        typer.echo(viewer_link(one, study, remote_id) or f"{one.name}: no viewer configured (--viewer-url)")


def _import_dicom(
    settings: Settings, database: "Database", one: "Pacs", since: dt.datetime | None, until: dt.datetime | None
) -> "Followed":
    from db import pacs
    from regionmir.pacs.dicom import dicom_backfill

    if since is None:
        raise ConfigurationError("a plain DICOM archive is asked day by day: give --since (and --until)")
    backfill = dicom_backfill(database, one, parse_ae_title(settings.ae_title), settings.tls_files)
    last = (until or dt.datetime.now()).date()
    for day, count in backfill.find_studies(since.date(), last):
        if count:
            typer.echo(f"{day}: {count} studies", err=True)
    with database.session() as session:
        pacs.retry_failed(session, one.name)
    return _with_progress(database, one, backfill.import_waiting)


def _with_progress(database: "Database", one: "Pacs", run: "Callable[[Callable[[], None]], Followed]") -> "Followed":
    from db import pacs

    with database.session() as session:
        total = pacs.counts(session, one.name)["waiting"]
    with _bar(total) as advance:
        return run(advance)


@contextmanager
def _bar(total: int) -> Iterator["Callable[[], None]"]:
    columns = (TextColumn("importing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)


def _tell(done: "Followed", counts: dict[str, int], as_json: bool) -> None:
    if as_json:
        print_json({**asdict(done), "studies": counts})
        return
    now = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    hidden = f", {done.compared.hidden} hidden" if done.compared else ""
    typer.echo(f"{done.imported} imported ({done.instances} instances), {done.failed} failed{hidden}; now {now}")


def _get(database: "Database", name: str) -> "Pacs":
    from db import pacs

    with database.session() as session:
        found = pacs.get(session, name)
    if found is None:
        raise _unknown(name)
    return found


def _unknown(name: str) -> RegionMirError:
    return RegionMirError(f"no archive has the name {name[:40]}; see `regionmir pacs list`")


def _checked_url(text: str) -> str:
    """Return the URL of an Orthanc without trailing slash. Raises `ConfigurationError`."""
    from urllib.parse import urlsplit

    if not text:
        return ""
    parts = urlsplit(text.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ConfigurationError("--url looks like http://host:8042, without user, password or query")
    return text.strip().rstrip("/")
