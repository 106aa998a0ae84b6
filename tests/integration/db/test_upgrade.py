"""A database of any earlier version is opened by this one with all that was in it, also after a killed migration."""

import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from db import audit, audit_chain, deliveries, instances, migrate, peers, pseudonyms
from db.deliveries import Result
from db.engine import Database
from db.find import Field, FindSpec, Level, find
from db.peers import Peer
from regionmir.core.identifiers import AETitle, Uid
from regionmir.core.records import Caller, Disclosure, Rights
from regionmir.query.request import RegionQuery
from regionmir.query.search import search
from tests.support.old_schema import copy_rows, killed_while_upgrading, upgrade_to
from tests.support.postgres import TestDatabases
from tests.support.seed import all_found, film, many_films, receive_films, seed

FOUND = all_found(2)
CALLER = Caller(AETitle("VIEWER"), "127.0.0.1", Rights(find=True), Disclosure.IDENTIFIED, registered=True)
TAGS = ("00100020", "00100010", "0020000D", "00080020", "00080050")
REVISIONS = sorted(migrate.known())
DEADLINE_S = 60.0

Answers = dict[str, Any]


@pytest.fixture(scope="module")
def today(databases: TestDatabases) -> Iterator[tuple[Database, Answers]]:
    """Return a database of this version with something in most tables, and what it answers."""
    url = databases.migrated()
    database = Database(url, application_name="today")
    films, info = many_films(6, FOUND, 16)
    model_pk = seed(database, films, info=info)
    receive_films(database, [film(99)])
    with database.session() as session:
        peers.upsert(session, Peer(AETitle("VIEWER"), "192.0.2.1", 104, can_find=True))
        audit.record(session, "peer added", actor="operator", address="", detail={"ae_title": "VIEWER"})
        audit.record(session, "fsck", actor="operator", address="", detail={"findings": 0})
        code = search(session, RegionQuery("ACC0", FOUND[:1], 10), CALLER).code
        result = Result("sr", 1, Uid("1.2.826.0.1.0"), model_pk, Uid("2.25.1"), instance_pk=1, codes=(code,))
        assert deliveries.enqueue(session, result, AETitle("VIEWER"))
    yield database, answers(database)
    database.close()
    databases.drop(url)


def answers(database: Database) -> Answers:
    """Return what a database answers: all studies, the similar ones, pseudonyms, peers, results, the trail's end."""
    with database.session() as session:
        fields = tuple(Field(tag) for tag in TAGS)
        rows = sorted(str(row) for row in find(session, FindSpec(Level.STUDY, fields)))
        hits = [
            (hit.instance_pk, hit.similarity)
            for hit in search(session, RegionQuery("ACC0", FOUND, 10), CALLER, keep=False).hits
        ]
        known = pseudonyms.for_originals(session, pseudonyms.STUDY, [f"1.2.826.0.1.{n}" for n in range(6)])
        states = instances.counts_by_state(session)
        kept = audit_chain.verify(audit_chain.links(session))
        titles = [peer.ae_title for peer in peers.listing(session)]
        sent = [(one.destination, one.state, one.kind) for one in deliveries.listing(session)]
    assert not kept.fault
    trail = kept.events
    return {"rows": rows, "hits": hits, "pseudonyms": known, "states": states, "peers": titles, "trail": trail} | (
        {"deliveries": sent} if sent else {}
    )


@pytest.mark.parametrize("revision", REVISIONS[:-1])
def test_rows_of_an_earlier_version_answer_as_today_also_after_the_next_migration_was_killed(
    revision: str, today: tuple[Database, Answers], databases: TestDatabases
) -> None:
    url = databases.empty()
    with closing(Database(url, application_name="old")) as old:
        upgrade_to(old, revision)
        copy_rows(today[0], old)
        following = REVISIONS[REVISIONS.index(revision) + 1]

        process = multiprocessing.get_context("forkserver").Process(
            target=killed_while_upgrading, args=(url, following)
        )
        process.start()
        process.join(DEADLINE_S)
        assert process.exitcode == -signal.SIGKILL
        process.close()
        assert migrate.current(old) == revision, "nothing of a killed migration is there"

        migrate.upgrade(old)
        assert migrate.current(old) == migrate.head()
        found, expected = answers(old), dict(today[1])
        if revision < "0003":  # results were not sent then
            del expected["deliveries"]
        assert found == expected
        receive_films(old, [film(1000)])  # numbering goes on, nothing collides
        with old.session() as session:
            assert instances.counts_by_state(session)["received"] == expected["states"]["received"] + 1
    databases.drop(url)
