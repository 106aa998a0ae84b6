"""`regionmir send`: files and folders to a node by C-STORE."""

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from regionmir.admin.context import JSON, console, print_json, settings_in_force
from regionmir.admin.talking import (
    CALLING,
    TLS,
    TLS_CA,
    TLS_CERTIFICATE,
    TLS_KEY,
    TO,
    TlsOptions,
    called_peer,
    calling_title,
)
from regionmir.core.errors import ConfigurationError, PeerRefused, PeerUnavailable

if TYPE_CHECKING:
    from regionmir.scu.store import Result, SentFile

_MOST_REASONS = 20


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(send)


def send(
    paths: list[Path] = typer.Argument(metavar="PATHS...", help="DICOM files, and folders to search for them."),
    to: str | None = TO,
    calling: str = CALLING,
    tls: bool = TLS,
    tls_ca: Path | None = TLS_CA,
    tls_certificate: Path | None = TLS_CERTIFICATE,
    tls_key: Path | None = TLS_KEY,
    as_json: bool = JSON,
) -> None:
    """Send DICOM files by C-STORE, as their bytes are where the peer takes them so, else losslessly converted.

    Other files are reported and left out. Exit code 1 if the peer refused anything or could not be reached.

    Example: regionmir send ~/films --to PACS@10.0.0.5:104

    Over TLS: regionmir send ~/films --to PACS@pacs.example:2762 --tls --tls-ca ca.pem
    """
    from regionmir.pixels.transcode import transcode_to_any
    from regionmir.scu.store import Result, SentFile, store

    peer = called_peer(to, settings_in_force(), TlsOptions(tls, tls_ca, tls_certificate, tls_key))
    found = list(files_in(paths))
    started = time.perf_counter()
    outcomes: list[SentFile] = []
    away = ""
    try:
        sent = store(peer, calling_title(calling), found, convert=lambda one, taken: transcode_to_any(one.path, taken))
        outcomes.extend(_watched(sent, len(found)))
    except (PeerUnavailable, PeerRefused) as error:
        away = str(error)
    seconds = time.perf_counter() - started
    counts = Counter(outcome.result for outcome in outcomes)
    if as_json:
        print_json(_report(str(peer), outcomes, counts, len(found), seconds, away))
    else:
        _print(outcomes, counts, len(found), seconds, away)
    good = counts[Result.STORED] + counts[Result.WARNING]
    raise typer.Exit(0 if good and good + counts[Result.NOT_DICOM] == len(found) else 1)


def files_in(paths: Iterable[Path]) -> Iterator[Path]:
    """Give the files named, and those in the folders named, in a stable order.

    A DICOMDIR is left out: it lists instances and is none. Raises `ConfigurationError` for a path that is not there.
    """
    for path in paths:
        if path.is_dir():
            for folder, subfolders, names in os.walk(path):
                subfolders.sort()
                yield from (Path(folder, name) for name in sorted(names) if name.upper() != "DICOMDIR")
        elif path.exists():
            yield path
        else:
            raise ConfigurationError(f"{path} does not exist")


def _watched(outcomes: "Iterator[SentFile]", total: int) -> "Iterator[SentFile]":
    columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("sending", total=total)
        for outcome in outcomes:
            progress.advance(task)
            yield outcome


def _print(outcomes: "list[SentFile]", counts: "Counter[Result]", total: int, seconds: float, away: str) -> None:
    from regionmir.scu.store import Result

    reasons = Counter((one.result, one.detail) for one in outcomes if one.result is not Result.STORED)
    if reasons:
        example = {(one.result, one.detail): one.path for one in reversed(outcomes)}
        table = Table("files", "outcome", "why", "such as", box=None, pad_edge=False)
        for (result, detail), count in reasons.most_common(_MOST_REASONS):
            table.add_row(str(count), result.value, detail, str(example[result, detail]))
        console.print(table)
    if away:
        console.print(away, style="red", markup=False)
    words = [f"{counts[result]} {result.value}" for result in Result if counts[result]]
    if len(outcomes) < total:
        words.append(f"{total - len(outcomes)} not sent")
    typer.echo(f"{', '.join(words) or 'no files found'}; {seconds:.1f} s")


def _report(
    peer: str, outcomes: "list[SentFile]", counts: "Counter[Result]", total: int, seconds: float, away: str
) -> dict[str, Any]:
    from regionmir.scu.store import Result

    return {
        "peer": peer,
        "seconds": round(seconds, 3),
        "counts": {result.value: counts[result] for result in Result} | {"not sent": total - len(outcomes)},
        "error": away,
        "files": [
            {
                "path": str(one.path),
                "sop_instance_uid": one.sop_instance_uid,
                "result": one.result.value,
                "status": None if one.status is None else f"0x{one.status.code:04X}",
                "detail": one.detail,
            }
            for one in outcomes
        ],
    }
