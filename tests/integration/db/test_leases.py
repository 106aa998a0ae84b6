"""Work under a lease: claimed, renewed, finished, lost, given back."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from db import analyses, generations, instances
from db.engine import Database
from db.tables import EmbeddingRow, InstanceRow, RegionRow
from regionmir.core.anatomy import anatomies
from regionmir.core.records import InstanceState
from tests.support.records import element, embedded, generation, header, index, receive


def fill(database: Database, count: int) -> None:
    for number in range(count):
        assert receive(database, header(number), f"content {number}").outcome == "new"


def claim(
    database: Database, owner: str = "worker", limit: int = 100, lease_s: float = 60
) -> list[instances.ClaimedInstance]:
    with database.session() as session:
        return instances.claim(session, owner, limit, lease_s)


def counts(database: Database) -> dict[str, int]:
    with database.session() as session:
        return {state: n for state, n in instances.counts_by_state(session).items() if n}


def model(database: Database, name: str = "small", dim: int = 64) -> int:
    with database.session() as session:
        return generations.ensure_model(session, generation(name, dim))


def expire_leases(database: Database) -> None:
    with database.session() as session:
        session.execute(update(InstanceRow).values(lease_until=func.now() - text("interval '1 s'")))


def test_the_oldest_instances_are_claimed_first_with_what_a_worker_needs(database: Database) -> None:
    fill(database, 3)
    first, second = claim(database, limit=2)
    assert (first.sop_instance_uid, second.sop_instance_uid) == ("1.2.3.1.0", "1.2.3.1.1")
    assert (first.modality, first.source_ae, first.attempts) == ("CR", "MODALITY", 1)
    assert first.attributes["00100040"] == element("CS", "F")
    assert counts(database) == {"indexing": 2, "received": 1}


def test_no_instance_is_claimed_twice_by_workers_at_once(database: Database) -> None:
    fill(database, 60)

    def work(number: int) -> list[int]:
        found: list[int] = []
        while batch := claim(database, f"worker {number}", 4):
            found += [one.pk for one in batch]
        return found

    with ThreadPoolExecutor(6) as pool:
        taken = [pk for found in pool.map(work, range(6)) for pk in found]
    assert len(taken) == len(set(taken)) == 60


def test_a_finished_instance_has_its_regions_and_vectors(database: Database) -> None:
    fill(database, 1)
    model_pk = model(database)
    (claimed,) = claim(database)
    regions = embedded(anatomies()[:5], 64)
    assert index(database, model_pk, claimed, regions)
    with database.session() as session:
        found = instances.detail(session, claimed.sop_instance_uid)
        assert found is not None
        assert found.summary.state is InstanceState.INDEXED
        assert found.summary.indexed_at is not None
        assert [filed.region for filed in found.regions] == [one.region for one in regions]
        row = session.scalars(select(EmbeddingRow).order_by(EmbeddingRow.anatomy_pk)).first()
        assert row is not None
        assert (row.sex, row.view, str(row.study_date), round(row.age_years or 0)) == ("F", "PA", "2020-01-01", 60)
        assert session.scalar(select(func.count()).select_from(EmbeddingRow)) == 5


def test_finishing_twice_does_nothing_the_second_time(database: Database) -> None:
    fill(database, 1)
    model_pk = model(database)
    (claimed,) = claim(database)
    assert index(database, model_pk, claimed, embedded(anatomies()[:2], 64))
    assert not index(database, model_pk, claimed, embedded(anatomies()[:3], 64))
    with database.session() as session:
        assert session.scalar(select(func.count()).select_from(RegionRow)) == 2


def test_an_expired_lease_goes_to_another_worker_and_the_first_can_not_finish(database: Database) -> None:
    fill(database, 1)
    model_pk = model(database)
    (late,) = claim(database, "slow")
    expire_leases(database)
    with database.session() as session:
        assert instances.requeue_expired(session) == 1
    (held,) = claim(database, "quick")
    assert held.attempts == 2
    assert not index(database, model_pk, late, embedded(anatomies()[:1], 64), owner="slow")
    with database.session() as session:
        assert not instances.finish_failed(session, late, owner="slow", reason="late")
    assert index(database, model_pk, held, embedded(anatomies()[:1], 64), owner="quick")


def test_a_lease_that_the_same_owner_took_again_can_not_be_finished_by_its_first_claim(database: Database) -> None:
    fill(database, 1)
    model_pk = model(database)
    (late,) = claim(database)
    expire_leases(database)
    with database.session() as session:
        instances.requeue_expired(session)
    (held,) = claim(database)
    assert not index(database, model_pk, late, [])
    assert index(database, model_pk, held, [])


def test_a_renewed_lease_does_not_expire(database: Database) -> None:
    fill(database, 2)
    claim(database)
    expire_leases(database)
    with database.session() as session:
        assert instances.renew(session, "worker", 60) == 2
        assert instances.requeue_expired(session) == 0


def test_a_lease_from_before_the_clock_was_moved_back_does_not_hold_its_instance(database: Database) -> None:
    fill(database, 2)
    assert len(claim(database, "worker")) == 2
    with database.session() as session:
        assert instances.requeue_expired(session, lease_s=60) == 0
        session.execute(text("UPDATE instance SET lease_until = lease_until + interval '1 hour'"))
        assert instances.requeue_expired(session, lease_s=3600) == 0
        assert instances.requeue_expired(session, lease_s=60) == 2
    assert len(claim(database, "quick")) == 2


def test_an_instance_that_crashes_its_worker_five_times_is_marked_failed(database: Database) -> None:
    fill(database, 1)
    for _ in range(5):
        assert len(claim(database)) == 1
        expire_leases(database)
        with database.session() as session:
            instances.requeue_expired(session)
    with database.session() as session:
        (failed,) = instances.listing(session, state=InstanceState.FAILED)
        assert failed.reason == "crashed the worker 5 times"


def test_what_is_given_back_waits_again_and_costs_no_attempt(database: Database) -> None:
    fill(database, 2)
    one, other = claim(database)
    with database.session() as session:
        assert instances.release(session, "somebody else", [one.pk]) == 0
        assert instances.release(session, "worker", [one.pk]) == 1
    assert counts(database) == {"received": 1, "indexing": 1}
    assert [again.attempts for again in claim(database)] == [1]
    assert other.attempts == 1


def test_an_unsupported_instance_keeps_its_reason_and_loses_earlier_regions(database: Database) -> None:
    fill(database, 1)
    model_pk = model(database)
    (claimed,) = claim(database)
    index(database, model_pk, claimed, embedded(anatomies()[:2], 64))
    with database.session() as session:
        assert instances.reindex(session, everything=True) == 1
        assert session.scalar(select(func.count()).select_from(EmbeddingRow)) == 2  # searchable until replaced
    (claimed,) = claim(database)
    with database.session() as session:
        assert instances.finish_unsupported(session, claimed, owner="worker", reason="lateral view\0" + "x" * 999)
    with database.session() as session:
        (found,) = instances.listing(session, state=InstanceState.UNSUPPORTED)
        assert found.reason.startswith("lateral viewx")
        assert len(found.reason) == 200
        assert session.scalar(select(func.count()).select_from(EmbeddingRow)) == 0


def test_reindexing_replaces_the_regions_of_one_model_and_keeps_those_of_the_other(database: Database) -> None:
    fill(database, 1)
    old, new = model(database, "old"), model(database, "new", 128)
    for model_pk, dim, found in ((old, 64, 3), (new, 128, 4), (new, 128, 2)):
        (claimed,) = claim(database)
        assert index(database, model_pk, claimed, embedded(anatomies()[:found], dim))
        with database.session() as session:
            instances.reindex(session, uids=["1.2.3"])
    with database.session() as session:
        by_model = dict(
            session.execute(select(EmbeddingRow.model_pk, func.count()).group_by(EmbeddingRow.model_pk)).all()
        )
    assert by_model == {old: 3, new: 2}


def test_an_operator_may_let_failed_instances_wait_again(database: Database) -> None:
    fill(database, 3)
    for claimed in claim(database, limit=2):
        with database.session() as session:
            assert instances.finish_failed(session, claimed, owner="worker", reason="corrupt")
    with database.session() as session:
        assert instances.reindex(session) == 0
        assert instances.reindex(session, uids=["1.2.3.1.0"]) == 1
        assert instances.reindex(session, state=InstanceState.FAILED) == 1
        assert instances.waiting(session) == 3


def test_a_listing_is_paged_and_filtered(database: Database) -> None:
    fill(database, 5)
    with database.session() as session:
        first = instances.listing(session, limit=2)
        rest = instances.listing(session, after=first[-1].pk)
        assert [one.sop_instance_uid[-1] for one in first + rest] == list("01234")
        assert instances.listing(session, state=InstanceState.INDEXED) == []
        assert instances.listing(session, reason="own_copy") == []
        assert instances.detail(session, "9.9.9") is None
        assert instances.counts_by_state(session) == {
            "received": 5,
            "indexing": 0,
            "indexed": 0,
            "unsupported": 0,
            "failed": 0,
        }
        assert instances.total_bytes(session) == 5 * len("content 0")


@pytest.mark.parametrize("change", ["renew", "release", "reindex", "adopt"])
def test_a_change_of_many_instances_waits_for_a_correction_that_goes_on_to_take_more_of_them(
    database: Database, change: str
) -> None:
    """The one that it takes first is read last, wherever the change reads the table as it lies."""
    fill(database, 2)
    model_pk, held = model(database), claim(database)
    first, second = sorted(one.pk for one in held)
    if change in ("reindex", "adopt"):
        for one in held:
            assert index(database, model_pk, one, embedded(anatomies()[:1], 64))
    with database.session() as session:
        session.execute(text("UPDATE analysis SET state = 'unsupported'"))
        for table, key in (("instance", "pk"), ("analysis", "instance_pk")):
            session.execute(text(f"CLUSTER {table} USING {table}_pkey"))
            session.execute(text(f"UPDATE {table} SET attempts = attempts WHERE {key} = :first"), {"first": first})
    do: dict[str, Callable[[Session], object]] = {
        "renew": lambda session: instances.renew(session, "worker", 60),
        "release": lambda session: instances.release(session, "worker", [first, second]),
        "reindex": lambda session: instances.reindex(session, everything=True),
        "adopt": lambda session: analyses.adopt(session, model_pk),
    }

    def run() -> None:
        with database.session() as session:
            for plan in ("indexscan", "bitmapscan", "mergejoin"):
                session.execute(text(f"SET LOCAL enable_{plan} = off"))
            do[change](session)

    with ThreadPoolExecutor(1) as pool, database.session() as correcting:
        lock = select(InstanceRow.pk).with_for_update()
        correcting.scalars(lock.where(InstanceRow.pk == first)).one()
        changing = pool.submit(run)
        until_somebody_waits(database)
        correcting.scalars(lock.where(InstanceRow.pk == second)).one()
        correcting.commit()
        changing.result(30)


def until_somebody_waits(database: Database) -> None:
    deadline = time.monotonic() + 30
    waits = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    while time.monotonic() < deadline:
        with database.session() as session:
            if session.scalar(waits):
                return
        time.sleep(0.02)
    raise AssertionError("nobody waits for a lock")
