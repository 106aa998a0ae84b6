"""What we ask of a PostgreSQL server before anything relies on it."""

from typing import LiteralString

import psycopg
from psycopg import sql

from regionmir.core.errors import ConfigurationError, DatabaseUnavailable


def require_durable(database_url: str) -> None:
    """Return if a commit survives a power failure. Raises `ConfigurationError`, or `DatabaseUnavailable`."""
    from db.durability import MUST_BE_ON, refusal

    for name in MUST_BE_ON:
        if _ask(database_url, "SELECT current_setting(%s)", name) == "off":
            raise refusal(name)


def update_pgvector(superuser_url: str) -> None:
    """Bring pgvector in our own cluster to the version that is installed, after an update of the wheel."""
    with _connection(superuser_url) as connection:
        connection.execute("ALTER EXTENSION vector UPDATE")


def pgvector_version(database_url: str) -> str | None:
    """Return the version of pgvector in this database, or the one it could have; None if there is none."""
    found = _ask(
        database_url,
        "SELECT coalesce(installed_version, default_version) FROM pg_available_extensions WHERE name = %s",
        "vector",
    )
    return None if found is None else str(found)


def server_version(database_url: str) -> int:
    """Return the version of PostgreSQL as a number, such as 180006."""
    return int(str(_ask(database_url, "SELECT current_setting(%s)", "server_version_num")))


def _ask(database_url: str, question: LiteralString, argument: str) -> object:
    with _connection(database_url) as connection:
        row = connection.execute(sql.SQL(question), (argument,)).fetchone()
    return None if row is None else row[0]


def _connection(url: str) -> "psycopg.Connection[tuple[object, ...]]":
    try:
        return psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://", 1), connect_timeout=5)
    except psycopg.OperationalError as error:
        first = str(error).strip().splitlines()[0]
        raise DatabaseUnavailable(f"PostgreSQL cannot be reached: {first}") from None
    except psycopg.ProgrammingError:
        raise ConfigurationError("the database URL does not parse; it looks like postgresql://user@host/db") from None
