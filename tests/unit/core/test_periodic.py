"""A timer that nothing stops but `stop`."""

import threading
import time

import pytest

from regionmir.core.errors import DatabaseUnavailable
from regionmir.core.periodic import Periodic


@pytest.mark.parametrize("error", [DatabaseUnavailable("away"), ValueError("a fault")])
def test_an_action_that_raises_is_called_again(error: Exception) -> None:
    three_times = threading.Event()
    calls = []

    def action() -> None:
        calls.append(1)
        if len(calls) == 3:
            three_times.set()
        raise error

    timer = Periodic("test", 0.01, action, immediately=True)
    timer.start()
    assert three_times.wait(5)
    timer.stop()
    calls_at_stop = len(calls)
    time.sleep(0.05)
    assert len(calls) == calls_at_stop


def test_the_first_call_waits_one_interval_unless_it_is_wanted_at_once() -> None:
    called = threading.Event()
    timer = Periodic("test", 60, called.set)
    timer.start()
    timer.stop()
    assert not called.is_set()


def test_a_timer_that_was_never_started_is_stopped_without_harm() -> None:
    Periodic("test", 60, lambda: None).stop()
