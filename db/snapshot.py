"""One state of the database for a backup, whatever is committed meanwhile; and objects that stay until it is made."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from psycopg import conninfo, pq
from sqlalchemy import text
from sqlalchemy.orm import Session

from db import generations, migrate
from db.engine import Database, mapped_errors

_LOCK = 0x5247_4E4F  # "RGNO": shared by backups that copy objects, alone by whoever removes some


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state of the database: `name` for `pg_dump --snapshot`, `session` to read it; both until the block ends."""

    name: str
    session: Session


@contextmanager
def snapshot(database: Database) -> Iterator[Snapshot]:
    """Yield the database as it is now. Nobody waits for it; a change of the schema waits until it ends.

    Raises `DatabaseUnavailable`.
    """
    isolated = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with mapped_errors(), database.engine.connect().execution_options(**isolated) as connection:
        name = str(connection.execute(text("SELECT pg_export_snapshot()")).scalar_one())
        with Session(connection) as session:
            yield Snapshot(name, session)


@contextmanager
def objects_held(database: Database) -> Iterator[None]:
    """Let no object be removed while the block runs (`may_remove_objects`). Raises `DatabaseUnavailable`."""
    with mapped_errors(), database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SELECT pg_advisory_lock_shared(:key)"), {"key": _LOCK})
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock_shared(:key)"), {"key": _LOCK})


def may_remove_objects(session: Session) -> bool:
    """True if no backup copies objects now, nor begins to until this transaction ends.

    Whoever takes the last row away that speaks of an object asks in the same transaction, and removes it afterwards.
    """
    return bool(session.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _LOCK}).scalar_one())


@dataclass(frozen=True, slots=True)
class Versions:
    """What a snapshot is of. `models`: SHA-256 of the weights of every generation, the active one first."""

    schema: str
    postgresql: str
    models: tuple[str, ...]


def versions(found: Snapshot) -> Versions:
    """Return what a snapshot is of."""
    models = sorted(generations.listing(found.session), key=lambda one: one.status != "active")
    server = str(found.session.execute(text("SHOW server_version")).scalar_one())
    revision = migrate.revision_of(found.session.connection())
    return Versions(revision or "", server, tuple(one.info.weights_sha256 for one in models))


def is_empty(database: Database) -> bool:
    """True where the database holds no table, view or sequence but those of extensions."""
    with database.session() as session:
        return int(session.execute(text(_RELATIONS)).scalar_one()) == 0


_RELATIONS = """
SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S') AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
"""


def libpq_environment(database: Database) -> dict[str, str]:
    """Return the variables by which PostgreSQL's own programs reach this database: no password in a command line."""
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    given = conninfo.conninfo_to_dict(url)
    names = {option.keyword.decode(): option.envvar for option in pq.Conninfo.get_defaults()}
    return {
        variable.decode(): str(value)
        for keyword, value in given.items()
        if value is not None and (variable := names[keyword])
    }
