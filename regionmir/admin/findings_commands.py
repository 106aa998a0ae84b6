"""`regionmir findings`: findings of studies, by which hits and lists can be filtered."""

import csv
from collections import defaultdict
from pathlib import Path

import typer

from regionmir.admin.context import JSON, open_session, print_json
from regionmir.core.errors import ConfigurationError

app = typer.Typer(no_args_is_help=True, help="Findings of studies, by which hits and lists can be filtered.")

_COLUMNS = ("study_instance_uid", "finding")


@app.command("import")
def import_(
    file: Path = typer.Argument(help="CSV with study_instance_uid and finding, one finding in a line."),
    as_json: bool = JSON,
) -> None:
    """Give the studies of a table its findings, in place of those that they had.

    Example: regionmir findings import findings.csv
    """
    from db import audit, findings

    labels = _read(file)
    with open_session() as session:
        known = sum(findings.replace(session, study, found) for study, found in labels.items())
        detail = {"studies": known}
        audit.record(session, "findings imported", actor="operator", address="", detail=detail)
    if as_json:
        print_json({"studies": known, "unknown": len(labels) - known})
    else:
        typer.echo(f"{known} studies have findings now; {len(labels) - known} of the table are not here")


def _read(path: Path) -> dict[str, list[str]]:
    """Return the findings of each study. Raises `ConfigurationError`."""
    found: dict[str, list[str]] = defaultdict(list)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            if not set(_COLUMNS) <= set(table.fieldnames or ()):
                raise ConfigurationError(f"{path.name} must have the columns {' and '.join(_COLUMNS)}")
            for line in table:
                found[(line["study_instance_uid"] or "").strip()].append(line["finding"] or "")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"{path.name} cannot be read as CSV ({type(error).__name__})") from None
    return dict(found)
