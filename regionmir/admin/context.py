"""What the commands share: settings, a database that is ready, and how answers are printed."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from regionmir.admin.running import running_settings
from regionmir.core.settings import Settings, load_settings

if TYPE_CHECKING:
    from db.engine import Database, Session

JSON = typer.Option(False, "--json", help="Print JSON, for programs.")

_WIDTH_IN_A_PIPE = 200

console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_IN_A_PIPE)


def settings_in_force() -> Settings:
    """Return the settings, completed by the endpoints of the instance that runs on the data folder."""
    return running_settings(load_settings())


@contextmanager
def open_database(settings: Settings) -> "Iterator[Database]":
    """Give the database, its schema being current.

    Raises `ConfigurationError` where there is none, `DatabaseUnavailable` where it does not answer or is not migrated.
    """
    from db.engine import Database
    from db.migrate import wait_current

    database = Database(settings.require_database_url(), application_name="regionmir cli", pool_size=1)
    try:
        wait_current(database, 0)
        yield database
    finally:
        database.close()


@contextmanager
def open_session() -> "Iterator[Session]":
    """Give one session on the database of the settings in force: committed at a clean end."""
    with open_database(settings_in_force()) as database, database.session() as session:
        yield session


def print_json(value: Any) -> None:
    """Print `value` as indented JSON; what JSON does not know (a date, a path) as text."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))
