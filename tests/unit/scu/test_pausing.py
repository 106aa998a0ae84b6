"""Pausing an association's reactor: it takes no message once a request has paused it, however it was let go on."""

import sys
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from regionmir.scu.pausing import Pause


@pytest.fixture
def hurried() -> Iterator[None]:
    """Threads take turns at nearly every instruction, as on a busy machine."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def looks_while_paused(assoc: Any, checkpoint: threading.Event, pauses: int) -> int:
    """Return how often a reactor as pynetdicom's looks for messages between a pause and its end."""
    ending, looks = threading.Event(), [0]

    def reactor() -> None:
        while not ending.is_set():
            assoc._is_paused = True
            checkpoint.wait()
            assoc._is_paused = False
            looks[0] += 1

    thread = threading.Thread(target=reactor, daemon=True)
    thread.start()
    found = 0
    for _ in range(pauses):
        checkpoint.clear()
        while not assoc._is_paused:
            time.sleep(0)
        before = looks[0]
        time.sleep(0.0002)
        found += looks[0] - before
        checkpoint.set()
    ending.set()
    thread.join(10)
    assert not thread.is_alive()
    return found


@pytest.mark.usefixtures("hurried")
def test_a_paused_reactor_looks_for_no_message() -> None:
    assoc: Any = SimpleNamespace(_is_paused=False)
    assert looks_while_paused(assoc, Pause(assoc), 3_000) == 0


@pytest.mark.usefixtures("hurried")
def test_with_a_plain_event_it_does() -> None:
    """Were this to fail, the test above would prove nothing, and pynetdicom be mended."""
    plain = threading.Event()
    plain.set()
    assert looks_while_paused(SimpleNamespace(_is_paused=False), plain, 3_000) > 0


def test_a_wait_at_a_pause_ends_after_its_timeout() -> None:
    assoc: Any = SimpleNamespace(_is_paused=True)
    pause = Pause(assoc)
    pause.clear()
    assert not pause.wait(0.01)
    assert assoc._is_paused
