"""Bringing the schema up to date, safely from several processes at once."""

import re
import time

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from db import views
from db.engine import Database, mapped_errors
from regionmir.core.errors import ConfigurationError, DatabaseUnavailable

MINIMUM_POSTGRESQL = 16
MINIMUM_PGVECTOR = (0, 8, 4)
_LOCK = 0x5247_4E4D  # "RGNM": one migration at a time on one database


def upgrade(database: Database) -> None:
    """Bring the schema to the newest version; nothing is done where it is there already.

    Raises `ConfigurationError` where PostgreSQL or pgvector is too old, or the schema is of a newer RegionMIR.
    """
    with mapped_errors(), database.engine.begin() as connection:
        connection.execute(text("SET LOCAL lock_timeout = '300s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        check_server(connection)
        if revision_of(connection) == head():
            return
        _require_pgvector(connection)
        views.remove(connection)  # a table that a view reads can hardly be changed
        try:
            command.upgrade(_config(connection), "head")
        except CommandError:
            raise ConfigurationError(_newer(revision_of(connection))) from None
        views.install(connection)


def wait_current(database: Database, deadline_s: float) -> None:
    """Return once the schema is the newest. Raises `DatabaseUnavailable` after `deadline_s` seconds,
    `ConfigurationError` where the schema is of a newer RegionMIR."""
    end = time.monotonic() + deadline_s
    database.wait_ready(deadline_s)
    while True:
        with mapped_errors(), database.engine.connect() as connection:
            found = revision_of(connection)
        if found == head():
            return
        if found is not None and found not in known():
            raise ConfigurationError(_newer(found))
        if time.monotonic() >= end:
            raise DatabaseUnavailable("the database schema is not up to date: run `regionmir db upgrade`")
        time.sleep(0.2)


def head() -> str:
    """Return the newest revision of the schema that this code knows."""
    newest = ScriptDirectory.from_config(_config(None)).get_current_head()
    assert newest is not None
    return newest


def current(database: Database) -> str | None:
    """Return the revision of the schema in the database, None where it is empty."""
    with mapped_errors(), database.engine.connect() as connection:
        return revision_of(connection)


def check_server(connection: Connection) -> None:
    """Return if PostgreSQL and an installed pgvector are new enough. Raises `ConfigurationError`."""
    number = int(connection.execute(text("SHOW server_version_num")).scalar_one())
    if number // 10_000 < MINIMUM_POSTGRESQL:
        raise ConfigurationError(f"PostgreSQL {MINIMUM_POSTGRESQL} or newer is needed, this is {number // 10_000}")
    found = _pgvector(connection, "installed_version")
    if found is not None:
        refuse_old_pgvector(found)


def refuse_old_pgvector(version: str) -> None:
    """Return if this pgvector will do. Raises `ConfigurationError`: older ones lose rows of filtered searches."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    if numbers < MINIMUM_PGVECTOR:
        needed = ".".join(map(str, MINIMUM_PGVECTOR))
        raise ConfigurationError(
            f"pgvector {needed} or newer is needed, this database has {version}: "
            "install it, then run ALTER EXTENSION vector UPDATE"
        )


def _require_pgvector(connection: Connection) -> None:
    available = _pgvector(connection, "default_version")
    if available is None:
        raise ConfigurationError("the extension pgvector is not installed on this PostgreSQL server")
    if _pgvector(connection, "installed_version") is not None:
        return
    refuse_old_pgvector(available)
    try:
        with connection.begin_nested():
            connection.execute(text("CREATE EXTENSION vector"))
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", "") != "42501":  # insufficient privilege
            raise
        raise ConfigurationError("a superuser must run CREATE EXTENSION vector in this database first") from None


def _pgvector(connection: Connection, column: str) -> str | None:
    statement = text(f"SELECT {column} FROM pg_available_extensions WHERE name = 'vector'")  # noqa: S608 - our word
    found = connection.execute(statement).scalar()
    return None if found is None else str(found)


def revision_of(connection: Connection) -> str | None:
    """Return the revision of the schema as this connection sees it, None where it is empty."""
    return MigrationContext.configure(connection).get_current_revision()


def known() -> set[str]:
    """Return every revision that this code can bring up to date."""
    return {script.revision for script in ScriptDirectory.from_config(_config(None)).walk_revisions()}


def _newer(revision: str | None) -> str:
    return f"the database has schema {revision}, of a newer RegionMIR than this one (schema {head()})"


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", "db:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
