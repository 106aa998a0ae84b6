"""Sessions: committed or not, and what they raise while the server is away."""

import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError, ProgrammingError

from db import engine, peers
from db.engine import Database
from db.migrate import upgrade
from db.peers import Peer
from db.tables import PeerRow
from regionmir.core.errors import DatabaseUnavailable
from regionmir.core.identifiers import AETitle
from tests.support.postgres import throw_away_server


def test_an_error_in_a_session_leaves_nothing_behind(database: Database) -> None:
    def fails_half_way() -> None:
        with database.session() as session:
            peers.upsert(session, Peer(AETitle("PACS")))
            raise KeyError

    with pytest.raises(KeyError):
        fails_half_way()
    with database.session() as session:
        assert session.scalars(select(PeerRow)).all() == []


def test_an_error_in_a_statement_is_not_mistaken_for_an_absent_server(database: Database) -> None:
    with pytest.raises(ProgrammingError), database.session() as session:
        session.execute(text("SELECT nonsense"))


def test_a_value_too_large_for_an_index_is_not_mistaken_for_an_absent_server(database: Database) -> None:
    with pytest.raises(Exception, match="index row") as raised, database.session() as session:
        session.execute(
            text("INSERT INTO pseudonym VALUES ('study', (SELECT string_agg(md5(n::text), '') "
                 "FROM generate_series(1, 9999) n), 'x', 1)")
        )  # fmt: skip
    assert not isinstance(raised.value, DatabaseUnavailable)


def test_a_cut_connection_is_replaced_by_the_next_session(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable), database.session() as session:
        session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    with database.session() as session:
        assert session.scalar(text("SELECT 1")) == 1


def test_idle_connections_that_the_server_closed_are_replaced_before_they_are_used(database: Database) -> None:
    others = text(  # returns when they are gone
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND usename = current_user AND datname = current_database()"
    )
    with ExitStack() as opened:
        for session in [opened.enter_context(database.session()) for _ in range(3)]:
            session.execute(text("SELECT 1"))
    cutter = Database(database.url.render_as_string(hide_password=False), application_name="cutter")
    with cutter.session() as session:
        assert len(session.scalars(others).all()) == 3
    cutter.close()
    with database.single_statements() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    with database.session() as session:
        assert session.scalar(text("SELECT 1")) == 1


def test_a_connection_that_was_idle_for_long_is_asked_whether_it_is_alive(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(database.engine.dialect, "do_ping", asked.append)
    for pause_s, questions in ((0.0, 0), (0.0, 0), (0.2, 1)):
        monkeypatch.setattr(engine, "_ASKED_AFTER_S", 0.1 if pause_s else 60.0)
        time.sleep(pause_s)
        with database.session() as session:
            session.execute(text("SELECT 1"))
        assert len(asked) == questions


def test_a_statement_of_its_own_is_committed_and_leaves_transactions_to_others(database: Database) -> None:
    with database.single_statements() as connection:
        connection.execute("INSERT INTO merged_patient (key, into_key) VALUES ('one', 'other')")
    with pytest.raises(IntegrityError), database.single_statements() as connection:
        connection.execute("INSERT INTO merged_patient (key, into_key) VALUES ('one', 'other')")

    def fails_half_way() -> None:
        with database.session() as session:
            session.execute(text("DELETE FROM merged_patient"))
            raise KeyError

    with pytest.raises(KeyError):
        fails_half_way()
    with database.session() as session:
        assert session.scalar(text("SELECT count(*) FROM merged_patient")) == 1


def test_a_statement_of_its_own_whose_connection_is_cut_says_that_the_database_is_away(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable), database.single_statements() as connection:
        connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    with database.single_statements() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_connection_in_use_while_the_database_is_closed_is_closed_with_its_session(database: Database) -> None:
    with database.session() as session:
        driver = session.connection().connection.driver_connection
        database.close()
        assert session.scalar(text("SELECT 1")) == 1
        assert not driver.closed
    assert driver.closed


def test_a_lock_that_is_not_given_up_ends_in_an_error_that_may_be_retried(database: Database) -> None:
    impatient = text("SELECT set_config('lock_timeout', '50ms', true)")

    def wait_for_the_lock() -> None:
        with database.session() as session:
            session.execute(impatient)
            session.scalars(select(PeerRow)).all()

    with database.session() as holder:
        holder.execute(text("LOCK TABLE peer"))
        with pytest.raises(DatabaseUnavailable):
            wait_for_the_lock()


def test_a_server_that_is_away_is_reported_soon_and_found_again_when_it_is_back(tmp_path: Path) -> None:
    with throw_away_server(tmp_path) as server:
        database = Database(server.url, application_name="test")
        upgrade(database)
        server.stop()
        with pytest.raises(DatabaseUnavailable), database.session() as session:
            peers.listing(session)
        with pytest.raises(DatabaseUnavailable):
            database.wait_ready(0.2)
        server.start()
        database.wait_ready(30)
        with database.session() as session:
            assert peers.listing(session) == []
        database.close()


def test_nobody_listens_at_the_address() -> None:
    database = Database("postgresql://nobody@127.0.0.1:1/nothing", application_name="test")
    with pytest.raises(DatabaseUnavailable) as raised, database.session() as session:
        peers.listing(session)
    assert "nobody" not in str(raised.value)
    with pytest.raises(DatabaseUnavailable), database.single_statements():
        pass
