"""Schema `analytics`: views and functions for statistics, free of identities. Each `.sql` file here holds one or a few
that belong together, with their comments; those whose names begin with an underscore are made first.

What they share among themselves is in schema `analytics_inner`, which nobody else may use. They hold no data and are
made anew after each migration (`db.migrate`). Films, studies and patients go by their pseudonyms, dates of studies are
moved as everywhere under pseudonyms (PS3.15 E.3.6), ages are bands of five years.
"""

from importlib.resources import files
from typing import Any

from sqlalchemy import Connection, text


def remove(connection: Connection) -> None:
    """Remove schema `analytics` and what is behind it."""
    connection.execute(text("DROP SCHEMA IF EXISTS analytics, analytics_inner CASCADE"))


def install(connection: Connection) -> None:
    """Make schema `analytics` anew with all its views and functions."""
    remove(connection)
    connection.execute(text("CREATE SCHEMA analytics"))
    connection.execute(text("CREATE SCHEMA analytics_inner"))
    connection.execute(text("COMMENT ON SCHEMA analytics IS 'Statistics without identities of patients'"))
    for file in sorted(files(__name__).iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".sql"):
            _run(connection, file.read_text(encoding="utf-8"))
    connection.execute(text("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA analytics FROM PUBLIC"))


def _run(connection: Connection, script: str) -> None:
    """Run statements as they stand: SQLAlchemy would take `%` for a parameter."""
    driver: Any = connection.connection.driver_connection
    driver.execute(script)
