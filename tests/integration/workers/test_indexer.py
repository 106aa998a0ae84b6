"""The indexer against a real database: leases, crashes, a database that goes away."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from db import instances
from db.engine import Database
from regionmir.core.errors import DatabaseUnavailable
from regionmir.core.identifiers import Uid
from regionmir.core.records import InstanceState
from regionmir.storage import FileStore
from tests.support.fake_model import PLACES, FakeModel
from tests.support.filing import file_film
from tests.support.films import synthetic_film
from workers.indexer import Indexer
from workers.pipeline import NOT_A_CHEST, write_outcomes


class Crash(BaseException):
    """Stands for a process that dies: nothing catches it, nothing is cleaned up."""


class CrashingModel(FakeModel):
    """Dies on images darker than a tenth."""

    def analyse(self, images):  # type: ignore[no-untyped-def]
        if any(float(image.mean()) < 0.1 for image in images):
            raise Crash
        return super().analyse(images)


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path)


def dark_film() -> Dataset:
    """Return a film whose display values are below a tenth."""
    dark = synthetic_film(100, rows=64, columns=64)
    dark.PixelData = (dark.pixel_array // 8).astype("uint16").tobytes()
    return dark


def indexer(database: Database, store: FileStore, model: FakeModel | None = None, **options: int) -> Indexer:
    return Indexer(database, store, model or FakeModel(), options.get("batch_size", 4), lease_s=60)


def states(database: Database) -> dict[str, tuple[str, str]]:
    with database.session() as session:
        return {s.sop_instance_uid: (s.state.value, s.reason) for s in instances.listing(session)}


def counts(database: Database) -> dict[str, int]:
    with database.session() as session:
        return {state: n for state, n in instances.counts_by_state(session).items() if n}


def region_sets(database: Database) -> set[tuple[int, int]]:
    """Return, over all indexed instances, the distinct pairs of how many regions and embeddings one has."""
    with database.session() as session:
        regions = "(SELECT count(*) FROM region r WHERE r.instance_pk = i.pk)"
        embeddings = "(SELECT count(*) FROM embedding e WHERE e.instance_pk = i.pk)"
        found = session.execute(text(f"SELECT {regions}, {embeddings} FROM instance i WHERE i.state = 'indexed'"))
        return {(row[0], row[1]) for row in found}


def expire_leases(database: Database) -> None:
    with database.session() as session:
        session.execute(text("UPDATE instance SET lease_until = now() - interval '1 s' WHERE state = 'indexing'"))
        instances.requeue_expired(session)


def file_films(database: Database, store: FileStore, count: int) -> list[Uid]:
    return [file_film(database, store, synthetic_film(seed, rows=64, columns=64)) for seed in range(count)]


def test_everything_that_waits_is_indexed_in_batches_with_one_set_of_regions(
    database: Database, store: FileStore
) -> None:
    file_films(database, store, 10)
    model = FakeModel()
    one = indexer(database, store, model)
    assert one.drain() == 10
    assert model.passes == [4, 4, 2]
    assert counts(database) == {"indexed": 10}
    assert region_sets(database) == {(len(PLACES), len(PLACES))}
    assert one.drain() == 0
    one.close()


def test_indexing_again_replaces_the_regions(database: Database, store: FileStore) -> None:
    file_films(database, store, 3)
    one = indexer(database, store)
    one.drain()
    with database.session() as session:
        assert instances.reindex(session, everything=True) == 3
    assert one.drain() == 3
    assert region_sets(database) == {(len(PLACES), len(PLACES))}
    one.close()


def test_broken_and_foreign_objects_end_in_states_with_reasons_and_harm_no_other(
    database: Database, store: FileStore
) -> None:
    good = file_film(database, store, synthetic_film(0))
    short = file_film(database, store, synthetic_film(1, PixelData=b"\0" * 100))
    lateral = file_film(database, store, synthetic_film(2, ViewPosition="LL"))
    blank = file_film(database, store, synthetic_film(3, PixelData=b"\0\1" * 256 * 256))
    lost = file_film(database, store, synthetic_film(4))
    with database.session() as session:
        detail = instances.detail(session, lost)
    assert detail is not None
    store.delete(detail.storage_key)
    one = indexer(database, store, batch_size=8)
    one.drain()
    found = states(database)
    assert found[good] == ("indexed", "")
    assert found[short][0] == "failed"
    assert found[short][1]
    assert found[lateral] == ("unsupported", "lateral view")
    assert found[blank] == ("unsupported", NOT_A_CHEST)
    assert found[lost] == ("failed", "object cannot be read: FileNotFoundError")
    one.close()


def test_a_film_that_kills_its_worker_every_time_fails_and_takes_no_other_with_it(
    database: Database, store: FileStore
) -> None:
    file_films(database, store, 3)
    killer = file_film(database, store, dark_film())
    file_films(database, store, 6)  # three of them are new
    for _ in range(instances.MAX_ATTEMPTS):
        one = indexer(database, store, CrashingModel())
        with pytest.raises(Crash):
            one.drain()
        expire_leases(database)
    assert states(database)[killer] == ("failed", "crashed the worker 5 times")
    indexer(database, store, CrashingModel()).drain()
    assert counts(database) == {"indexed": 6, "failed": 1}
    assert region_sets(database) == {(len(PLACES), len(PLACES))}


def test_stopping_gives_the_leases_back(database: Database, store: FileStore) -> None:
    file_films(database, store, 12)

    class StopsItself(FakeModel):
        def analyse(self, images):  # type: ignore[no-untyped-def]
            one.stop()
            return super().analyse(images)

    one = indexer(database, store, StopsItself())
    assert one.drain() == 4
    assert counts(database) == {"indexed": 4, "received": 8}
    one.close()
    assert one.drain() == 0


def test_who_lost_the_lease_writes_nothing(database: Database, store: FileStore) -> None:
    file_films(database, store, 2)
    other = indexer(database, store)

    class Overtaken(FakeModel):
        def analyse(self, images):  # type: ignore[no-untyped-def]
            expire_leases(database)
            assert other.drain() == 2
            return super().analyse(images)

    slow = indexer(database, store, Overtaken())
    slow.drain()
    assert counts(database) == {"indexed": 2}
    assert region_sets(database) == {(len(PLACES), len(PLACES))}


class Flaky(Database):
    """Goes away at the sessions whose numbers are in `away`."""

    away: frozenset[int] = frozenset()
    used = 0

    @contextmanager
    def session(self) -> Iterator[Session]:
        self.used += 1
        if self.used in self.away:
            raise DatabaseUnavailable("away")
        with super().session() as session:
            yield session


@pytest.mark.parametrize("number", range(1, 9))
def test_a_database_that_goes_away_at_any_moment_costs_a_second_try_and_nothing_else(
    database: Database, store: FileStore, number: int
) -> None:
    file_films(database, store, 6)
    flaky = Flaky(database.url.render_as_string(hide_password=False), application_name="flaky")
    flaky.away = frozenset({number})
    one = indexer(flaky, store)
    with pytest.raises(DatabaseUnavailable):
        one.drain()
    one.drain()
    with database.session() as session:
        found = instances.listing(session)
    assert [(s.state, s.attempts) for s in found] == [(InstanceState.INDEXED, 1)] * 6
    assert region_sets(database) == {(len(PLACES), len(PLACES))}
    one.close()
    flaky.close()


class WritesNonsense(FakeModel):
    """Gives vectors that no table takes for images darker than a tenth."""

    def analyse(self, images):  # type: ignore[no-untyped-def]
        found = super().analyse(images)
        for image, analysis in zip(images, found, strict=True):
            if float(image.mean()) < 0.1:
                analysis.regions[-1].vector[:] = np.nan
        return found


def test_a_film_that_cannot_be_written_fails_and_takes_no_other_of_its_batch_with_it(
    database: Database, store: FileStore
) -> None:
    file_films(database, store, 2)
    poison = file_film(database, store, dark_film())
    file_films(database, store, 5)  # three of them are new
    one = indexer(database, store, WritesNonsense(), batch_size=8)
    assert one.drain() == 6
    one.close()
    assert states(database)[poison] == ("failed", "cannot be written: DataError")
    assert counts(database) == {"indexed": 5, "failed": 1}
    assert region_sets(database) == {(len(PLACES), len(PLACES))}


def test_a_batch_is_written_while_the_model_looks_at_the_next_one(
    database: Database, store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    second_pass = threading.Event()

    class Tells(FakeModel):
        def analyse(self, images):  # type: ignore[no-untyped-def]
            found = super().analyse(images)
            if len(self.passes) == 2:
                second_pass.set()
            return found

    def write_late(*arguments: Any) -> None:
        assert second_pass.wait(10)
        write_outcomes(*arguments)

    monkeypatch.setattr("workers.indexer.write_outcomes", write_late)
    file_films(database, store, 6)
    one = indexer(database, store, Tells())
    assert one.drain() == 6
    one.close()
    assert counts(database) == {"indexed": 6}


def test_a_larger_batch_asks_the_database_no_more_often(database: Database, store: FileStore) -> None:
    asked: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda _c, _u, statement, *_: asked.append(statement))
    times = []
    for count in (2, 7):
        file_films(database, store, count)  # as many more, less those that are there already
        one = indexer(database, store, batch_size=8)
        one.drain()
        asked.clear()
        with database.session() as session:
            instances.reindex(session, everything=True)
        assert one.drain() == count
        one.close()
        times.append(len(asked))
    assert times[0] == times[1]
