"""`regionmir audit`: reading the audit trail, and proving that nothing in it was changed. Each use is audited too."""

import datetime as dt
import getpass
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import typer
from rich.table import Table

from regionmir.admin.context import JSON, console, open_session, print_json
from regionmir.core.errors import ConfigurationError, RegionMirError

if TYPE_CHECKING:
    from db.audit_chain import Link, Search
    from db.engine import Session

app = typer.Typer(no_args_is_help=True, help="The audit trail: what was asked, shown, sent, changed and refused.")

_DETAIL_WIDTH = 80

_KIND = typer.Option([], "--kind", help="Only this kind of event; may be repeated.")
_ACTOR = typer.Option("", help="Only events of this AE title or user.")
_SINCE = typer.Option(None, help="From this time on.")
_UNTIL = typer.Option(None, help="Before this time.")
_TEXT = typer.Option("", "--text", help="Only events with this text in kind, actor, address or detail.")


class Form(StrEnum):
    """How events are exported."""

    JSONL = "jsonl"
    XML = "xml"


@app.command()
def search(
    kind: list[str] = _KIND,
    actor: str = _ACTOR,
    since: dt.datetime | None = _SINCE,
    until: dt.datetime | None = _UNTIL,
    text: str = _TEXT,
    limit: int = typer.Option(50, min=1, max=10_000, help="Most events to print."),
    as_json: bool = JSON,
) -> None:
    """Print the newest events that fit, newest first.

    Example: regionmir audit search --kind query --actor WORKSTATION --since 2026-11-01
    """
    from db import audit_chain

    wanted = _search(kind, actor, since, until, text)
    with open_session() as session:
        _note_use(session, "audit searched")
        found = audit_chain.newest(session, wanted, limit)
    if as_json:
        print_json([_as_json(link) for link in found])
        return
    table = Table("#", "at (UTC)", "kind", "actor", "address", "detail", box=None, pad_edge=False)
    for link in found:
        row = (str(link.position), link.at[:19], link.kind, link.actor or "-", link.address or "-")
        table.add_row(*row, link.detail[:_DETAIL_WIDTH])
    console.print(table)


@app.command()
def export(
    out: Path = typer.Argument(metavar="FILE", help="File to write, mode 0600; - for standard output."),
    form: Form = typer.Option(Form.JSONL, help="jsonl: all events, with their hashes; xml: the DICOM audit messages."),
    kind: list[str] = _KIND,
    actor: str = _ACTOR,
    since: dt.datetime | None = _SINCE,
    until: dt.datetime | None = _UNTIL,
) -> None:
    """Write events, oldest first. It holds PatientIDs and the keys of queries.

    Example: regionmir audit export trail.jsonl --since 2026-11-01
    """
    from db import audit_chain

    wanted = _search(kind, actor, since, until, "")
    with open_session() as session:
        _note_use(session, "audit exported")
    with open_session() as session:
        links = audit_chain.links(session, search=wanted)
        count = _write(links, form, sys.stdout) if str(out) == "-" else _write_file(links, form, out)
    typer.echo(f"{count} events", err=True)


@app.command()
def verify(
    expect: str = typer.Option("", help="Hash that the chain must hold, as an earlier verification printed it."),
    as_json: bool = JSON,
) -> None:
    """Check that no event was changed, removed or put in since it was recorded; exit code 1 if one was.

    Keep the hash that it prints somewhere else: that the newest events were all removed shows against it only.

    Example: regionmir audit verify --expect 9f2c...
    """
    from db import audit_chain

    with open_session() as session:
        seen = [False]
        verdict = audit_chain.verify(_watched(audit_chain.links(session), expect.lower(), seen))
        strangers = audit_chain.unchained(session)
    fault = verdict.fault
    if not fault and strangers:
        fault = f"{strangers} rows of the trail are not in the chain"
    if not fault and expect and not seen[0]:
        fault = "the expected hash is not in the chain: events at its end were removed or replaced"
    with open_session() as session:
        _note_use(session, "audit verified", {"events": verdict.events, "fault": fault})
    if as_json:
        print_json({"ok": not fault, "events": verdict.events, "head": verdict.head, "fault": fault})
    else:
        typer.echo(f"{fault}; {verdict.events} before it are sound" if fault else f"{verdict.events} events are sound")
        typer.echo(f"hash {verdict.head or '-'}")
    raise typer.Exit(1 if fault else 0)


def _search(kind: list[str], actor: str, since: dt.datetime | None, until: dt.datetime | None, text: str) -> "Search":
    from db.audit_chain import Search

    return Search(tuple(kind), actor, _local(since), _local(until), text)


def _local(time: dt.datetime | None) -> dt.datetime | None:
    """Return a time as typed, which is local, with its zone."""
    return time.astimezone() if time else None


def _watched(links: "Iterable[Link]", wanted: str, seen: list[bool]) -> "Iterable[Link]":
    for link in links:
        seen[0] = seen[0] or link.hash == wanted
        yield link


def _note_use(session: "Session", kind: str, detail: dict[str, object] | None = None) -> None:
    """Record who reads the trail (PS3.15 A.5.3.2)."""
    from db import audit
    from regionmir.core.audit_events import Endpoint, audit_log_used

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # an account without a name
        user = "operator"
    message = audit_log_used(Endpoint(user, is_ae=False))
    audit.record(session, kind, actor=user, address="", detail=detail or {}, message=message)


def _write_file(links: "Iterable[Link]", form: Form, out: Path) -> int:
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise ConfigurationError(f"{out} exists; name another file") from None
    except OSError as error:
        raise RegionMirError(f"{out} cannot be written: {error.strerror}") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        return _write(links, form, file)


def _write(links: "Iterable[Link]", form: Form, file: TextIO) -> int:
    count = 0
    if form is Form.XML:
        file.write('<?xml version="1.0" encoding="UTF-8"?>\n<AuditMessages>\n')
    for link in links:
        line = link.message if form is Form.XML else json.dumps(_as_json(link), ensure_ascii=False)
        if line:
            file.write(line + "\n")
            count += 1
    if form is Form.XML:
        file.write("</AuditMessages>\n")
    return count


def _as_json(link: "Link") -> dict[str, object]:
    return {**asdict(link), "detail": json.loads(link.detail)}
