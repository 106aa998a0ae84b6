"""The audit trail: chained as it is committed, and broken chains are found where they were broken."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from db import audit, audit_chain
from db.audit_chain import Search
from db.engine import Database

EVENT = "(SELECT event_pk FROM audit_chain WHERE position = {})"
KINDS = ["peer added", "deliveries retried", "anchor refused"]


def record(database: Database, kind: str, **detail: object) -> None:
    with database.session() as session:
        audit.record(session, kind, actor="ÄE", address="10.0.0.1", detail=detail)


def verdict(database: Database) -> audit_chain.Verdict:
    with database.session() as session:
        return audit_chain.verify(audit_chain.links(session))


def tamper(database: Database, *statements: str) -> None:
    """Do what only the owner of the tables can: take the triggers away first."""
    tables = ("audit_event", "audit_chain")
    with database.session() as session:
        for table in tables:
            session.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
        for statement in statements:
            session.execute(text(statement))
        for table in tables:
            session.execute(text(f"ALTER TABLE {table} ENABLE TRIGGER USER"))


def test_events_are_chained_in_the_order_of_their_commits(database: Database) -> None:
    for kind in KINDS:
        record(database, kind, text='quote " and \u2028', number=1.5)
    found = verdict(database)
    assert (found.events, found.fault) == (3, "")
    with database.session() as session:
        links = list(audit_chain.links(session))
        assert [link.kind for link in links] == KINDS
        assert links[-1].hash == found.head
        assert audit_chain.unchained(session) == 0


def test_events_of_many_processes_make_one_chain(database: Database) -> None:
    def several(worker: int) -> None:
        for number in range(5):
            record(database, "deliveries retried", worker=worker, number=number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(several, range(4)))
    assert verdict(database) == audit_chain.Verdict(20, verdict(database).head)


def test_what_is_rolled_back_leaves_no_place_in_the_chain(database: Database) -> None:
    record(database, "peer added")
    with pytest.raises(TypeError):
        record(database, "peer added", text=object())
    record(database, "peer removed")
    assert verdict(database).events == 2


@pytest.mark.parametrize(
    ("statement", "sound", "fault"),
    [
        (f"UPDATE audit_event SET actor = 'nobody' WHERE pk = {EVENT.format(2)}", 1, "event 2"),
        (f"UPDATE audit_event SET detail = '{{}}' WHERE pk = {EVENT.format(3)}", 2, "event 3"),
        ("UPDATE audit_chain SET hash = sha256('x') WHERE position = 2", 1, "event 2"),
        (f"DELETE FROM audit_event WHERE pk = {EVENT.format(2)}", 1, "event 2 of the chain is missing"),
        ("DELETE FROM audit_chain WHERE position = 1", 0, "event 1 of the chain is missing"),
    ],
)
def test_the_first_event_that_was_changed_is_named(database: Database, statement: str, sound: int, fault: str) -> None:
    for kind in KINDS:
        record(database, kind, number=1)
    tamper(database, statement)
    found = verdict(database)
    assert found.events == sound
    assert fault in found.fault


def test_a_row_put_in_past_the_triggers_is_counted(database: Database) -> None:
    record(database, "peer added")
    tamper(database, "INSERT INTO audit_event (kind, actor, address) VALUES ('forged', '', '')")
    assert verdict(database).fault == ""
    with database.session() as session:
        assert audit_chain.unchained(session) == 1


def test_the_chain_can_not_be_changed(database: Database) -> None:
    record(database, "peer added")
    for statement in ("UPDATE audit_chain SET position = 9", "DELETE FROM audit_chain", "TRUNCATE audit_chain"):
        with pytest.raises(Exception, match="append-only"), database.session() as session:
            session.execute(text(statement))


def test_an_event_is_refused_where_the_chain_could_fork(database: Database) -> None:
    database.engine.update_execution_options(isolation_level="REPEATABLE READ")
    with pytest.raises(ProgrammingError, match="read committed"):
        record(database, "peer added")


def test_events_are_found_by_kind_actor_time_and_text(database: Database) -> None:
    for number, kind in enumerate(KINDS):
        record(database, kind, number=number, name="100%_sure")
    with database.session() as session:

        def found(**conditions: object) -> list[int]:
            return [link.position for link in audit_chain.newest(session, Search(**conditions), 10)]  # type: ignore[arg-type]

        assert found() == [3, 2, 1]
        assert found(kinds=("peer added",)) == [1]
        assert found(actor="nobody") == []
        assert found(text="100%_SURE") == [3, 2, 1]
        assert found(text="1000sure") == []


def test_kinds_that_are_security_alerts_have_their_message(database: Database) -> None:
    record(database, "peer added", ae_title="PACS")
    record(database, "reindex")
    with database.session() as session:
        plain, alert = audit.listing(session)
    assert 'originalText="Security Configuration"' in alert.message
    assert 'AuditSourceID="test@' in alert.message
    assert plain.message == ""
