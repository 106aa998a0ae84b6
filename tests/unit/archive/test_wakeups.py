"""Waking the workers: soon, together, and never at the sender's cost."""

import time
from collections.abc import Callable

from regionmir.archive.wakeups import Wakeups
from regionmir.core.errors import BrokerUnavailable


class Broker:
    """Counts wake-ups, or is away."""

    def __init__(self) -> None:
        self.woken = 0
        self.tried = 0
        self.away = False

    def wake(self) -> None:
        self.tried += 1
        if self.away:
            raise BrokerUnavailable("away")
        self.woken += 1

    wake_search = wake

    def depth(self) -> int:
        return self.woken


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_many_wake_ups_become_few_and_the_first_is_at_once() -> None:
    broker = Broker()
    wakeups = Wakeups(broker, pause_s=1.0)
    started = time.monotonic()
    wakeups.wake()
    until(lambda: broker.woken == 1)
    assert time.monotonic() - started < 1.0
    for _ in range(1000):
        wakeups.wake()
    until(lambda: broker.woken == 2)
    time.sleep(1.5)
    assert broker.woken == 2
    wakeups.stop()


def test_a_wake_up_waits_for_a_broker_that_is_away() -> None:
    broker = Broker()
    broker.away = True
    wakeups = Wakeups(broker, pause_s=0.01, retry_s=0.01)
    wakeups.wake()
    until(lambda: broker.tried >= 3)
    broker.away = False
    until(lambda: broker.woken == 1)
    wakeups.stop()


def test_stopping_passes_on_what_is_wanted() -> None:
    broker = Broker()
    wakeups = Wakeups(broker, pause_s=0.01)
    wakeups.wake()
    wakeups.stop()
    assert broker.woken >= 1


def test_a_drawn_box_wakes_at_once_and_a_broker_that_is_away_raises_nothing() -> None:
    broker = Broker()
    wakeups = Wakeups(broker, pause_s=60)
    wakeups.wake_search()
    assert broker.woken == 1
    broker.away = True
    wakeups.wake_search()
    assert (broker.woken, broker.tried) == (1, 2)
    wakeups.stop()
