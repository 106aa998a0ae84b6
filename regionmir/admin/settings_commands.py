"""`regionmir settings`: what is in force, and where each value came from."""

import re
from typing import Any

import typer
from rich.table import Table

from regionmir.admin.context import JSON, console, print_json
from regionmir.core.settings import SECRET_FIELDS, Settings, load_settings, origin_of

_PASSWORD = re.compile(r"^([^:]+://[^:@/]*:).*@")
_QUERY_PASSWORD = re.compile(r"(?<=password=)[^&]*", re.IGNORECASE)


def settings(as_json: bool = JSON) -> None:
    """Print every setting: its value, where it comes from, what it means.

    Values come from REGIONMIR_* variables, then regionmir.toml (or the file named by REGIONMIR_CONFIG), then defaults.

    Example: REGIONMIR_DICOM_PORT=4242 regionmir settings
    """
    entries = describe(load_settings())
    if as_json:
        print_json(entries)
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("setting", "value", "from", "meaning"):
        table.add_column(heading, overflow="fold")
    for name, entry in entries.items():
        value = entry["value"]
        table.add_row(name, "-" if value is None else str(value), entry["origin"], entry["meaning"])
    console.print(table)


def describe(values: Settings) -> dict[str, dict[str, Any]]:
    """Return for each setting its value (without passwords), origin and meaning."""
    return {
        name: {
            "value": _shown(name, getattr(values, name)),
            "origin": origin_of(name),
            "meaning": field.description or "",
        }
        for name, field in Settings.model_fields.items()
    }


def without_password(url: str) -> str:
    """Return `url` with `***` in place of a password."""
    return _QUERY_PASSWORD.sub("***", _PASSWORD.sub(r"\1***@", url))


def _shown(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    return without_password(str(value)) if name in SECRET_FIELDS else str(value)


def add_to(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(settings)
