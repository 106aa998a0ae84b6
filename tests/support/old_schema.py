"""Databases of earlier versions: the schema as it was, filled with the rows that a database of today holds.

Columns and tables that came later are left out, as that version did not have them.
"""

import os
import signal
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import event, text
from sqlalchemy.engine import Connection

from db import migrate
from db.engine import Database
from db.generations import leaf_name
from db.tables import Base

_MADE_ANEW = {"anatomy", "audit_chain"}
"""Filled by the migration, and by the database itself."""

_COLUMNS = """
SELECT column_name FROM information_schema.columns
WHERE table_schema = 'public' AND table_name = :name AND is_generated = 'NEVER' ORDER BY ordinal_position
"""


def upgrade_to(database: Database, revision: str) -> None:
    """Bring the schema to a revision that need not be the newest."""
    with database.engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", "db:migrations")
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def copy_rows(source: Database, target: Database) -> None:
    """Copy the rows of all tables that both have, with the columns that both have."""
    with source.engine.connect() as reads, target.engine.begin() as writes:
        _make_partitions(reads, writes)
        for table in Base.metadata.sorted_tables:
            theirs, ours = _columns(writes, table.name), _columns(reads, table.name)
            common = [f'"{name}"' for name in theirs if name in ours]
            if "study_pk" not in theirs and table.name == "delivery":  # no version wrote any then
                continue
            if common and table.name not in _MADE_ANEW:
                _copy(reads, writes, table.name, ", ".join(common))
                _continue_numbers(writes, table.name, theirs)


def killed_while_upgrading(url: str, revision: str) -> None:
    """Upgrade to the newest schema in this process, and die without a word when the migration `revision` has run.

    Nothing is committed then.
    """

    def watch(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith(("UPDATE alembic_version", "INSERT INTO alembic_version")) and revision in statement:
            os.kill(os.getpid(), signal.SIGKILL)

    database = Database(url, application_name="to be killed", pool_size=1)
    event.listen(database.engine, "before_cursor_execute", watch)
    migrate.upgrade(database)


def _columns(connection: Connection, name: str) -> list[str]:
    return list(connection.execute(text(_COLUMNS), {"name": name}).scalars())


def _copy(reads: Connection, writes: Connection, name: str, columns: str) -> None:
    from_, to = _cursor(reads), _cursor(writes)
    with (
        from_.copy(f"COPY (SELECT {columns} FROM {name}) TO STDOUT") as rows,
        to.copy(f"COPY {name} ({columns}) FROM STDIN") as into,
    ):
        for row in rows:
            into.write(row)


def _cursor(connection: Connection) -> Any:
    driver: Any = connection.connection.driver_connection
    return driver.cursor()


def _make_partitions(reads: Connection, writes: Connection) -> None:
    for pk, anatomies in reads.execute(text("SELECT pk, anatomy_pks FROM model")).all():
        branch = f"embedding_m{pk}"
        made = [f"CREATE TABLE {branch} PARTITION OF embedding FOR VALUES IN ({pk}) PARTITION BY LIST (anatomy_pk)"]
        made += [
            f"CREATE TABLE {leaf_name(pk, anatomy)} PARTITION OF {branch} FOR VALUES IN ({anatomy})"
            for anatomy in anatomies
        ]
        for statement in made:
            writes.execute(text(statement))


def _continue_numbers(connection: Connection, name: str, columns: list[str]) -> None:
    if "pk" in columns:
        statement = f"SELECT setval(pg_get_serial_sequence('{name}', 'pk'), max(pk)) FROM {name} HAVING max(pk) > 0"
        connection.execute(text(statement))
