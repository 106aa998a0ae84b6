"""What several processes count together, also when one of them is killed."""

import itertools
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dicom_node.sharing import Client, Full, Places, SharedFailedAnchors
from regionmir.core.errors import QueryRefused

PORTS = itertools.count(50000)
GUESS = QueryRefused("unknown-anchor", "no such anchor")


def in_another_process(call: Callable[[], Any], *, then_die: bool = False) -> Any:
    """Return what `call` returns in a forked process, which may then kill itself."""
    context = multiprocessing.get_context("fork")
    told, tell = context.Pipe(duplex=False)

    def run() -> None:
        tell.send(call())
        if then_die:
            os.kill(os.getpid(), signal.SIGKILL)

    process = context.Process(target=run)
    process.start()
    answer = told.recv()
    process.join(30)
    process.close()
    told.close()
    tell.close()
    return answer


def a_client(host: str = "10.0.0.1") -> Client:
    return host, next(PORTS)


def test_places_are_those_of_all_processes_and_come_back_from_a_killed_one() -> None:
    places = Places(2, per_peer=2)
    first, second = a_client(), a_client()
    assert places.take(first) is None
    assert places.take(second) is None
    assert places.take(a_client()) is Full.IN_ALL
    assert in_another_process(lambda: places.take(a_client())) is Full.IN_ALL
    places.give_back(first)
    assert in_another_process(lambda: places.take(a_client()), then_die=True) is None
    assert places.take(a_client()) is None
    assert places.take(a_client()) is Full.IN_ALL


def test_an_address_has_its_places_in_all_processes_together() -> None:
    places = Places(8, per_peer=2)
    assert places.take(a_client()) is None
    assert in_another_process(
        lambda: (places.take(a_client()), places.take(a_client()), places.take(a_client("10.0.0.2")))
    ) == (None, Full.OF_PEER, None)
    assert places.take(a_client()) is None  # the other process has ended
    assert places.take(a_client()) is Full.OF_PEER
    assert places.take(a_client("10.0.0.2")) is None


def test_a_client_takes_one_place_and_gives_it_back_once() -> None:
    places = Places(1, per_peer=1)
    client = a_client()
    assert places.take(client) is None
    assert places.take(client) is None
    assert places.take(a_client()) is Full.IN_ALL
    places.give_back(client)
    places.give_back(client)
    assert places.take(a_client()) is None
    places.give_back(client)
    assert places.take(a_client()) is Full.IN_ALL


def test_places_hold_under_many_threads_of_several_processes() -> None:
    places = Places(5, per_peer=3)

    def taken() -> list[Full | None]:
        with ThreadPoolExecutor(8) as threads:
            return list(threads.map(lambda number: places.take(a_client(f"10.0.0.{number % 4}")), range(16)))

    context = multiprocessing.get_context("fork")
    told, tell = context.Pipe(duplex=False)
    stop = context.Event()

    def take_some() -> None:
        tell.send(taken())
        stop.wait(30)

    workers = [context.Process(target=take_some) for _ in range(3)]
    for worker in workers:
        worker.start()
    found = [answer for _ in workers for answer in told.recv()]
    stop.set()
    for worker in workers:
        worker.join(30)
        worker.close()
    told.close()
    tell.close()
    assert found.count(None) == 5
    assert places.take(a_client()) is None


def test_guesses_in_any_process_count_and_others_are_left_alone() -> None:
    anchors = SharedFailedAnchors(most=2)
    anchors.note("GUESSER", GUESS)
    in_another_process(lambda: anchors.note("GUESSER", GUESS))
    with pytest.raises(QueryRefused, match="too many"):
        anchors.check("GUESSER")
    anchors.check("OTHER")
    anchors.close()


def test_old_guesses_and_refusals_that_are_none_do_not_count() -> None:
    now = [100.0]
    anchors = SharedFailedAnchors(most=1, window_s=60.0, now=lambda: now[0])
    anchors.note("CALLER", QueryRefused("no-hits", "no other patient"))
    anchors.check("CALLER")
    anchors.note("CALLER", GUESS)
    now[0] += 61.0
    anchors.check("CALLER")
    anchors.close()
