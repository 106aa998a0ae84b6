"""Who a hit is of is told to few, never without a trace."""

import pytest

from db import audit, peers, result_sets, visibility
from db.engine import Database
from db.peers import Peer
from regionmir.core.errors import InvalidIdentifier
from regionmir.core.identifiers import AETitle
from regionmir.core.records import Caller, Disclosure, Rights
from regionmir.query.request import RegionQuery
from regionmir.query.resolving import Asker, NotResolved, resolve
from regionmir.query.search import search
from tests.support.records import generation, unit_vectors
from tests.support.seed import film, seed

READER = Asker("READER", "someone")


@pytest.fixture
def code(database: Database) -> str:
    """Return the code of an answer with one hit, of study 1.2.826.0.1.2."""
    info = generation()
    vectors = unit_vectors(2 * len(info.anatomies), info.dim).reshape(2, len(info.anatomies), info.dim)
    seed(database, [film(n + 1, vectors[n]) for n in range(2)], info=info)
    caller = Caller(AETitle("VIEWER"), "", Rights(find=True), Disclosure.PSEUDONYMOUS, registered=True)
    with database.session() as session:
        peers.upsert(session, Peer(AETitle("READER"), can_identify=True))
        peers.upsert(session, Peer(AETitle("VIEWER"), disclosure=Disclosure.IDENTIFIED))
        answer = search(session, RegionQuery("ACC1", (info.anatomies[0],)), caller)
    return answer.code


def events(database: Database) -> list[tuple[str, str]]:
    with database.session() as session:
        found = audit.listing(session, kinds=["resolve", "resolve refused"])
    return [(event.kind, event.actor) for event in found]


def test_those_with_the_right_learn_whose_a_hit_is_and_it_is_recorded(database: Database, code: str) -> None:
    origin = resolve(database, f"{code.lower()}#001", READER, "comparison")
    assert (origin.patient_id, origin.study_instance_uid) == ("REALID2", "1.2.826.0.1.2")
    with database.session() as session:
        (event,) = audit.listing(session, kinds=["resolve"])
    assert event.detail == {"hit": f"{code}#1", "reason": "comparison", "person": "someone"}
    assert "REALID2" not in str(event)


@pytest.mark.parametrize("who", ["VIEWER", "STRANGER"])
def test_without_the_right_nothing_is_told_and_the_attempt_is_recorded(database: Database, code: str, who: str) -> None:
    with pytest.raises(NotResolved, match="has not the right"):
        resolve(database, f"{code}#1", Asker(who), "curious")
    assert events(database) == [("resolve refused", who)]


def test_an_attempt_is_recorded_even_where_there_is_no_such_hit(database: Database, code: str) -> None:
    for hit in (f"{code}#9", f"{result_sets.new_code()}#1"):
        with pytest.raises(NotResolved, match="no such hit"):
            resolve(database, hit, READER, "comparison")
    assert events(database) == [("resolve", "READER")] * 2


def test_a_hit_that_was_deleted_in_its_archive_is_told_no_more(database: Database, code: str) -> None:
    with database.session() as session:
        visibility.hide(session, ["1.2.826.0.1.2"], "deleted")
    with pytest.raises(NotResolved, match="deleted"):
        resolve(database, f"{code}#1", READER, "comparison")


@pytest.mark.parametrize(
    ("hit", "reason"), [("", "why"), ("7K3M9QXA", "why"), ("7K3M9QXA#x", "why"), ("{code}#1", " ")]
)
def test_what_names_no_hit_or_gives_no_reason_is_refused(database: Database, code: str, hit: str, reason: str) -> None:
    with pytest.raises(InvalidIdentifier):
        resolve(database, hit.format(code=code), READER, reason)
    assert events(database) == []
