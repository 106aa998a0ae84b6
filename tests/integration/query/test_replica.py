"""Searches with a read replica: it finds the neighbours; where it is away or out of date, the primary does."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sqlalchemy import text

from db import visibility
from db.engine import Database
from db.replica import PAUSE_S, Replica
from regionmir.core.anatomy import anatomies
from regionmir.core.identifiers import AETitle
from regionmir.core.records import Caller, Disclosure, Rights
from regionmir.query.request import RegionQuery
from regionmir.query.search import search
from tests.support.postgres import TestDatabases
from tests.support.seed import film, seed

FOUND = anatomies()[:5]
CALLER = Caller(AETitle("KNOWN"), "127.0.0.1", Rights(find=True), Disclosure.IDENTIFIED, registered=True)
QUERY = RegionQuery("ACC0", FOUND[:1], 3)


class Watched(Replica):
    """Counts what it was asked, and what it answered."""

    asked = answered = 0

    def ask(self, question: Callable[[Any], Any]) -> Any:
        self.asked += 1
        found = super().ask(question)
        self.answered += found is not None
        return found


def leaning(angle: float) -> npt.NDArray[np.float32]:
    vector = np.zeros((len(FOUND), 64), np.float32)
    vector[:, 0], vector[:, 1] = np.cos(angle), np.sin(angle)
    return vector


@pytest.fixture(scope="module")
def primary(databases: TestDatabases) -> Iterator[Database]:
    url = databases.migrated()
    database = Database(url, application_name="test")
    try:
        seed(database, [film(number, leaning(number / 10)) for number in range(5)])
        yield database
    finally:
        database.close()
        databases.drop(url)


def replica_at(url: str) -> Watched:
    return Watched(url, application_name="test replica")


def found_by(primary: Database, replica: Replica | None) -> list[int]:
    with primary.session() as session:
        return [hit.study_pk for hit in search(session, QUERY, CALLER, keep=False, replica=replica).hits]


def test_a_replica_that_is_up_to_date_answers(primary: Database) -> None:
    replica = replica_at(primary.url.set(drivername="postgresql").render_as_string(hide_password=False))
    assert found_by(primary, replica) == found_by(primary, None)
    assert (replica.asked, replica.answered) == (1, 1)
    with pytest.raises(Exception, match="read-only"):
        replica.ask(lambda session: session.execute(text("CREATE TABLE written (x int)")))
    replica.close()


def test_where_the_replica_has_nothing_yet_the_primary_answers(primary: Database, databases: TestDatabases) -> None:
    url = databases.migrated()
    replica = replica_at(url)
    assert found_by(primary, replica) == found_by(primary, None)
    assert (replica.asked, replica.answered) == (1, 0)
    replica.close()
    databases.drop(url)


def test_a_study_that_the_primary_has_hidden_meanwhile_is_not_shown(
    primary: Database, databases: TestDatabases
) -> None:
    url = databases.migrated()
    behind = Database(url, application_name="test")
    seed(behind, [film(number, leaning(number / 10)) for number in range(5)])
    replica = replica_at(url)
    best = found_by(primary, None)[0]
    with primary.session() as session:
        hidden = session.scalar(text("SELECT study_instance_uid FROM study WHERE pk = :pk"), {"pk": best})
        visibility.hide(session, [hidden], "deleted")
    assert best in found_by(behind, None)
    assert best not in found_by(primary, replica)
    replica.close()
    behind.close()
    databases.drop(url)


def test_a_replica_that_is_away_costs_one_attempt_and_is_then_left_alone(primary: Database, tmp_path: Path) -> None:
    replica = replica_at(f"postgresql:///none?host={tmp_path}")
    assert found_by(primary, replica) == found_by(primary, None)
    began = time.monotonic()
    for _ in range(5):
        found_by(primary, replica)
    assert time.monotonic() - began < PAUSE_S
    assert (replica.asked, replica.answered) == (6, 0)
    replica.close()
