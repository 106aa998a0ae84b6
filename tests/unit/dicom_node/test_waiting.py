"""Threads that wait for their work: nothing that comes is missed, and nothing is looked for in vain."""

import time
from collections.abc import Callable
from threading import Thread

from dicom_node.waiting import LONGEST_WAIT_S, Checkpoint, NotifyingQueue

SOON_S = LONGEST_WAIT_S / 2


def seconds_of(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def quickest_wait(checkpoint: Checkpoint, work: Callable[[], object]) -> float:
    """Return the shortest of some waits, each after `work`: on a busy machine any one may be longer."""
    took = []
    for _ in range(10):
        work()
        took.append(seconds_of(checkpoint.wait))
    return min(took)


def test_the_checkpoint_holds_nobody_up_who_has_work() -> None:
    checkpoint = Checkpoint(lambda: True)
    checkpoint.set()
    checkpoint.wait()
    assert quickest_wait(checkpoint, lambda: None) < SOON_S


def test_without_work_the_checkpoint_waits_its_longest() -> None:
    checkpoint = Checkpoint(lambda: False)
    checkpoint.set()
    checkpoint.wait()  # what `set` announced
    assert seconds_of(checkpoint.wait) >= LONGEST_WAIT_S


def test_an_item_put_into_a_queue_ends_the_wait() -> None:
    checkpoint = Checkpoint(lambda: False)
    queue = NotifyingQueue(checkpoint.notify)
    checkpoint.set()
    checkpoint.wait()
    assert quickest_wait(checkpoint, lambda: queue.put("a message")) < SOON_S
    assert queue.get(block=False) == "a message"


def test_work_does_not_end_a_pause() -> None:
    checkpoint = Checkpoint(lambda: True)
    reactor = Thread(target=checkpoint.wait, daemon=True)
    reactor.start()
    checkpoint.notify()
    reactor.join(2 * LONGEST_WAIT_S)
    assert reactor.is_alive()
    checkpoint.set()
    reactor.join(5.0)
    assert not reactor.is_alive()
