"""Schema `analytics`: views and functions for statistics, free of identities. Each `.sql` file here holds one or a few
that belong together, with their comments; those whose names begin with an underscore are made first.

What they share among themselves is in schema `analytics_inner`, which nobody else may use. They hold no data and are
made anew after each migration (`db.migrate`). Words that came with an object are shown where they are Defined Terms
(`regionmir.core.terms`), and nowhere else. Films, studies and patients go by their pseudonyms, dates of studies are
moved as everywhere under pseudonyms (PS3.15 E.3.6), ages are bands of five years.
"""

from collections.abc import Iterable
from importlib.resources import files
from typing import Any

from sqlalchemy import Connection, text

from regionmir.core.terms import MODALITIES, PHOTOMETRIC_INTERPRETATIONS, SEXES, VIEWS

_TERMS = {
    "known_modality": MODALITIES,
    "known_photometric": PHOTOMETRIC_INTERPRETATIONS,
    "known_sex": SEXES,
    "known_view": VIEWS,
}


def remove(connection: Connection) -> None:
    """Remove schema `analytics` and what is behind it."""
    connection.execute(text("DROP SCHEMA IF EXISTS analytics, analytics_inner CASCADE"))


def install(connection: Connection) -> None:
    """Make schema `analytics` anew with all its views and functions."""
    remove(connection)
    connection.execute(text("CREATE SCHEMA analytics"))
    connection.execute(text("CREATE SCHEMA analytics_inner"))
    connection.execute(text("COMMENT ON SCHEMA analytics IS 'Statistics without identities of patients'"))
    for name, terms in _TERMS.items():
        _run(connection, _closed(name, terms))
    for file in sorted(files(__name__).iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".sql"):
            _run(connection, file.read_text(encoding="utf-8"))
    connection.execute(text("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA analytics FROM PUBLIC"))


def _closed(name: str, terms: Iterable[str]) -> str:
    """Return the statement that makes a function of a text: the text itself where it is one of `terms`, else none."""
    listed = ", ".join(f"'{term}'" for term in terms)
    return (
        f"CREATE FUNCTION analytics_inner.{name}(word text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE "
        f"RETURN CASE WHEN word IN ({listed}) THEN word ELSE '' END"
    )


def _run(connection: Connection, script: str) -> None:
    """Run statements as they stand: SQLAlchemy would take `%` for a parameter."""
    driver: Any = connection.connection.driver_connection
    driver.execute(script)
