"""The outbox with real destinations: nothing lost, nothing sent twice, nothing that loops."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from contextlib import contextmanager
from dataclasses import replace
from threading import Event as Flag

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pynetdicom.events import Event
from sqlalchemy import text

from db import deliveries, peers, visibility
from db.deliveries import Result
from db.engine import Database
from db.peers import Peer
from regionmir.core.identifiers import AETitle, Uid
from regionmir.core.records import Disclosure
from regionmir.scu.peer import Timeouts
from tests.support.outbox import FilmBuilder, enqueue, make_due, make_results, outbox
from tests.support.peers import AE_TITLE, Receiver, receiver
from tests.support.ports import free_port
from workers.delivery import DOUBTFUL_ATTEMPTS, Deliverer, NotBuildable

QUICK = Timeouts(connect_s=2, acse_s=5, dimse_s=5, network_s=5)


def register(database: Database, port: int, title: str = AE_TITLE, **values: object) -> None:
    with database.session() as session:
        known = {"accepts_pseudonyms": True, **values}
        peers.upsert(session, Peer(AETitle(title), host="127.0.0.1", port=port, **known))  # type: ignore[arg-type]


@contextmanager
def delivering(database: Database, builder: FilmBuilder, **options: float) -> Iterator[Callable[[], int]]:
    """Give a function that drains the outbox once and returns how many deliveries were tried."""
    deliverer = Deliverer(database, AETitle("REGIONMIR"), {"film": builder}, timeouts=QUICK, **options)  # type: ignore[arg-type]
    try:
        yield lambda: sum(future.result(60) for future in deliverer.drain())
    finally:
        deliverer.close()


def test_all_that_waits_goes_over_one_association_and_once(database: Database) -> None:
    results = make_results(database, 25)
    assert enqueue(database, results) == [True] * 25
    assert enqueue(database, results) == [False] * 25
    with receiver() as peer, delivering(database, FilmBuilder()) as drain:
        register(database, peer.port)
        assert drain() == 25
        assert drain() == 0
        assert peer.associations == 1
        assert [one.sop_instance_uid for one in peer.received] == [r.sop_instance_uid for r in results]
    assert {one.state.value for one in outbox(database)} == {"delivered"}
    sent = dcmread(DicomBytesIO(peer.received[0].dataset), force=True)
    assert sent.StudyInstanceUID == "1.2.3"


def test_a_destination_out_of_resources_is_tried_again_later_and_a_permanent_reject_is_not(database: Database) -> None:
    busy, refused, taken = make_results(database, 3)
    enqueue(database, [busy, refused, taken])
    answers = {busy.sop_instance_uid: 0xA700, refused.sop_instance_uid: 0xA900}

    def status(event: Event, number: int) -> int:
        return answers.get(event.request.AffectedSOPInstanceUID, 0x0000)  # type: ignore[union-attr]

    with receiver(status=status) as peer, delivering(database, FilmBuilder()) as drain:
        register(database, peer.port)
        assert drain() == 3
        assert [one.state.value for one in outbox(database)] == ["waiting", "dead", "delivered"]
        assert drain() == 0, "it waits"
        answers.clear()
        make_due(database)
        assert drain() == 1
        assert [one.state.value for one in outbox(database)] == ["delivered", "dead", "delivered"]
        assert outbox(database)[1].reason.startswith("0xA900")
        with database.session() as session:
            assert deliveries.retry(session, destination=AE_TITLE) == 1
        assert drain() == 1
    assert {one.state.value for one in outbox(database)} == {"delivered"}


def test_a_doubtful_status_ends_as_a_dead_letter_after_a_few_attempts(database: Database) -> None:
    enqueue(database, make_results(database, 1))
    with receiver(status=lambda event, number: 0x0110) as peer, delivering(database, FilmBuilder()) as drain:
        register(database, peer.port)
        for _ in range(DOUBTFUL_ATTEMPTS):
            assert drain() == 1
            make_due(database)
        assert drain() == 0
    assert outbox(database)[0].state.value == "dead"
    assert "given up after 5 attempts: 0x0110" in outbox(database)[0].reason


def test_a_destination_that_is_away_costs_one_attempt_and_delays_no_other(database: Database) -> None:
    results = make_results(database, 30)
    enqueue(database, results[:15], "AWAY")
    enqueue(database, results[15:])
    with receiver() as peer, delivering(database, FilmBuilder()) as drain:
        register(database, peer.port)
        register(database, free_port(), "AWAY")
        drain()
        assert len(peer.received) == 15
        assert drain() == 0, "all for the destination that is away waits"
    away = [one for one in outbox(database) if one.destination == "AWAY"]
    assert sorted(one.attempts for one in away) == [0] * 14 + [1]
    assert {one.state.value for one in away} == {"waiting"}


def test_what_was_held_back_goes_as_soon_as_its_destination_answers_again(database: Database) -> None:
    results = make_results(database, 13)
    enqueue(database, results[:12])
    with delivering(database, FilmBuilder()) as drain:
        register(database, free_port())
        for _ in range(4):  # longer each time
            drain()
            make_due(database)
        drain()
        assert drain() == 0, "all of it waits"
        assert {one.reason[:18] for one in outbox(database)} >= {"destination away: "}
        with receiver() as peer:
            register(database, peer.port)
            enqueue(database, results[12:])
            assert drain() == 12, "all but the one that was tried last, whose own pause goes on"
    assert sorted(one.state.value for one in outbox(database)) == ["delivered"] * 12 + ["waiting"]


def test_a_result_that_its_destination_cannot_bear_holds_up_no_other(database: Database) -> None:
    results = make_results(database, 6)
    enqueue(database, results)

    def abort_at_the_first(event: Event, number: int) -> int:
        if event.request.AffectedSOPInstanceUID == results[0].sop_instance_uid:  # type: ignore[union-attr]
            event.assoc.abort()
        return 0x0000

    with receiver(status=abort_at_the_first) as peer, delivering(database, FilmBuilder()) as drain:
        register(database, peer.port)
        drain()
        with database.session() as session:
            session.execute(text("UPDATE delivery SET next_try_at = next_try_at - interval '7 s'"))
        drain()
    assert [one.state.value for one in outbox(database)] == ["waiting"] + ["delivered"] * 5


def test_a_stalled_destination_delays_no_other(database: Database) -> None:
    results = make_results(database, 2)
    enqueue(database, results[:1], "STALLED")
    enqueue(database, results[1:])
    stalled, go_on = Flag(), Flag()

    def wait(event: Event, number: int) -> int:
        stalled.set()
        go_on.wait(30)
        return 0x0000

    deliverer = Deliverer(database, AETitle("REGIONMIR"), {"film": FilmBuilder()}, timeouts=QUICK)
    with receiver(status=wait) as slow, receiver() as quick:
        register(database, slow.port, "STALLED")
        register(database, quick.port)
        started = deliverer.drain()
        assert stalled.wait(30)
        assert next(as_completed(started, 30)).result() == 1
        assert (len(quick.received), len(slow.received)) == (1, 0)
        go_on.set()
        assert sum(future.result(30) for future in started) == 2
    deliverer.close()


def test_one_result_that_cannot_be_made_harms_no_other(database: Database) -> None:
    enqueue(database, make_results(database, 3))
    builder = FilmBuilder(fails=[NotBuildable("its study is gone"), ValueError("a fault of ours")])
    with receiver() as peer, delivering(database, builder) as drain:
        register(database, peer.port)
        assert drain() == 3
        assert len(peer.received) == 1
    first, second, third = outbox(database)
    assert (first.state.value, first.reason) == ("dead", "its study is gone")
    assert (second.state.value, second.reason) == ("waiting", "cannot be made or encoded: ValueError")
    assert third.state.value == "delivered"


def test_a_kind_that_nobody_makes_and_a_destination_that_nobody_registered_are_dead_letters(database: Database) -> None:
    results = make_results(database, 1)
    enqueue(database, results, "NOWHERE")
    enqueue(database, make_results(database, 1, kind="unknown"))
    with receiver() as peer, delivering(database, FilmBuilder()) as drain:
        register(database, peer.port)
        drain()
    assert [(one.state.value, one.reason) for one in outbox(database)] == [
        ("dead", "NOWHERE is not registered with a host and a port"),
        ("dead", "no results of kind 'unknown' are made here"),
    ]


def test_no_more_senders_than_a_destination_allows_whatever_process_they_are_of(database: Database) -> None:
    enqueue(database, make_results(database, 6))
    one, two, three = "sender 1", "sender 2", "sender 3"

    def claimed(owner: str) -> int:
        with database.session() as session:
            title = AETitle(AE_TITLE)
            return len(deliveries.claim(session, owner, title, limit=2, lease_s=60, max_senders=2))

    assert [claimed(one), claimed(two), claimed(three)] == [2, 2, 0]
    with database.session() as session:
        assert deliveries.release(session, two) == 2
    assert claimed(three) == 2


def test_what_a_dead_sender_held_waits_again_and_it_can_finish_it_only_as_delivered(database: Database) -> None:
    enqueue(database, make_results(database, 2))
    title = AETitle(AE_TITLE)
    with database.session() as session:
        first, second = deliveries.claim(session, "late", title, limit=2, lease_s=60, max_senders=1)
        session.execute(text("UPDATE delivery SET lease_until = now() - interval '1 s'"))
    with database.session() as session:
        assert deliveries.requeue_expired(session) == 2
        assert not deliveries.finish_dead(session, "late", first, reason="")
        assert not deliveries.finish_later(session, "late", first, reason="", after_s=1)
        assert deliveries.finish_delivered(session, "late", first, sop_class_uid="1.2")
        assert len(deliveries.claim(session, "next", title, limit=5, lease_s=60, max_senders=1)) == 1
        assert not deliveries.finish_delivered(session, "late", second, sop_class_uid="1.2"), "another tries by now"
    assert [one.state.value for one in outbox(database)] == ["delivered", "sending"]


def test_a_result_that_takes_longer_than_its_lease_is_sent_once(database: Database) -> None:
    enqueue(database, make_results(database, 1))

    class Slow(FilmBuilder):
        def build(self, result: Result) -> Dataset:
            time.sleep(5)
            with database.session() as session:
                assert deliveries.requeue_expired(session) == 0
            return super().build(result)

    with receiver() as peer, delivering(database, Slow(), lease_s=3) as drain:
        register(database, peer.port)
        assert drain() == 1
        assert drain() == 0
        assert len(peer.received) == 1
    assert [(one.state.value, one.attempts) for one in outbox(database)] == [("delivered", 1)]


def test_a_slow_object_lets_no_lease_behind_it_expire(database: Database) -> None:
    enqueue(database, make_results(database, 2))
    with database.session() as session:
        title = AETitle(AE_TITLE)
        first, second = deliveries.claim(session, "slow", title, limit=5, lease_s=60, max_senders=1)
        session.execute(text("UPDATE delivery SET lease_until = now() - interval '1 s'"))
        deliveries.renew(session, "slow", 60)
        assert deliveries.requeue_expired(session) == 0
        assert deliveries.is_held(session, "slow", first)
        assert deliveries.finish_delivered(session, "slow", second, sop_class_uid="1.2")
        assert not deliveries.is_held(session, "slow", second)


def test_no_delivery_waits_for_a_clock_that_was_moved_back(database: Database) -> None:
    enqueue(database, make_results(database, 2))
    with database.session() as session:
        deliveries.claim(session, "dead", AETitle(AE_TITLE), limit=1, lease_s=60, max_senders=1)
        hours = "interval '3 hours'"
        session.execute(text(f"UPDATE delivery SET lease_until = lease_until + {hours}, next_try_at = now() + {hours}"))
        assert deliveries.due_destinations(session) == []
        assert deliveries.requeue_expired(session, lease_s=60) == 1
    with database.session() as session:  # the one that was being sent waits like the other, for reconcile's next turn
        deliveries.requeue_expired(session, lease_s=60)
        assert len(deliveries.claim(session, "other", AETitle(AE_TITLE), limit=5, lease_s=60, max_senders=1)) == 2


def test_what_an_operator_dropped_is_neither_sent_nor_made_again(database: Database) -> None:
    results = make_results(database, 2)
    enqueue(database, results)
    with database.session() as session:
        assert deliveries.drop(session, pks=[outbox(database)[0].pk]) == 1
    assert enqueue(database, results) == [False, False]
    with receiver() as peer, delivering(database, FilmBuilder()) as drain:
        register(database, peer.port)
        assert drain() == 1
    assert [one.state.value for one in outbox(database)] == ["dropped", "delivered"]


@pytest.mark.parametrize("sop_class", ["1.2.840.10008.5.1.4.1.1.88.33"])
def test_a_destination_that_takes_no_such_object_gets_no_second_try(database: Database, sop_class: str) -> None:
    enqueue(database, make_results(database, 1))
    with receiver(sop_classes=[sop_class]) as peer, delivering(database, FilmBuilder()) as drain:
        register(database, peer.port)
        drain()
        assert isinstance(peer, Receiver)
    assert outbox(database)[0].state.value == "dead"
    assert "accepts none of the presentation contexts" in outbox(database)[0].reason


def test_nothing_goes_to_a_destination_that_may_not_see_whose_it_is(database: Database) -> None:
    (pseudonymous,) = make_results(database, 1)
    original = replace(pseudonymous, sop_instance_uid=Uid("1.2.3.99.2"), disclosure=Disclosure.IDENTIFIED)
    enqueue(database, [pseudonymous, original])
    with receiver() as peer, delivering(database, FilmBuilder()) as drain:
        register(database, peer.port, accepts_pseudonyms=False)
        drain()
        assert peer.received == []
    assert [(one.state.value, one.reason) for one in outbox(database)] == [
        ("dead", "RECEIVER is not registered to accept pseudonymous results"),
        ("dead", "RECEIVER is not registered for identified results any more"),
    ]


def test_what_is_about_a_hidden_study_waits_until_it_is_shown_again(database: Database) -> None:
    enqueue(database, make_results(database, 1))
    with receiver() as peer, delivering(database, FilmBuilder()) as drain:
        register(database, peer.port)
        with database.session() as session:
            visibility.hide(session, ["1.2.3"], "deleted")
        assert drain() == 0
        with database.session() as session:
            visibility.show(session, ["1.2.3"])
        assert drain() == 1
