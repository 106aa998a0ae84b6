"""`regionmir findings` (or `labels`): findings of studies, by which hits and lists can be filtered."""

import csv
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from regionmir.admin.context import JSON, open_session, print_json
from regionmir.core.errors import ConfigurationError

if TYPE_CHECKING:
    from db.findings import Named

app = typer.Typer(no_args_is_help=True, help="Findings of studies, by which hits and lists can be filtered.")

_COLUMNS = ("study_instance_uid", "finding")


@app.command("import")
def import_(
    file: Path = typer.Argument(
        help="CSV with study_instance_uid and finding, one finding in a line; perhaps source and confidence."
    ),
    source: str = typer.Option("", help="Who named the findings, where the table has no column `source`."),
    as_json: bool = JSON,
) -> None:
    """Give the studies of a table its findings, in place of those that they had of the same source.

    `confidence` is 0 to 1 and may be empty. `regionmir labels import` is the same command.

    Example: regionmir findings import findings.csv --source "reports 2026"
    """
    from db import audit, findings

    named = _read(file, source)
    studies = {study for study, _ in named}
    with open_session() as session:
        known = {study for (study, who), found in named.items() if findings.replace(session, study, found, who)}
        detail = {"studies": len(known), "sources": len({who for _, who in named})}
        audit.record(session, "findings imported", actor="operator", address="", detail=detail)
    if as_json:
        print_json({"studies": len(known), "unknown": len(studies) - len(known)})
    else:
        typer.echo(f"{len(known)} studies have findings now; {len(studies) - len(known)} of the table are not here")


def _read(path: Path, source: str) -> "dict[tuple[str, str], list[Named]]":
    """Return the findings by study and source. Raises `ConfigurationError` that names the line."""
    from db.findings import Named

    found: dict[tuple[str, str], list[Named]] = defaultdict(list)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            if not set(_COLUMNS) <= set(table.fieldnames or ()):
                raise ConfigurationError(f"{path.name} must have the columns {' and '.join(_COLUMNS)}")
            for line in table:
                key = (line["study_instance_uid"] or "").strip(), (line.get("source") or source).strip()
                sure = _confidence(line.get("confidence") or "", f"{path.name}, line {table.line_num}")
                found[key].append(Named(line["finding"] or "", sure))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"{path.name} cannot be read as CSV ({type(error).__name__})") from None
    return dict(found)


def _confidence(text: str, where: str) -> float | None:
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ConfigurationError(f"{where}: confidence must be a number from 0 to 1, or empty")
    return value
