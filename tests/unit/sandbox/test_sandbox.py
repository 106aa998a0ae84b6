import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from regionmir.core.errors import BrokenImage, Transient, UnsupportedImage
from regionmir.sandbox import Answer, Limits, Sandbox
from tests.support import faulty

CALL_S = 2.0


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    made = Sandbox(Limits(memory_bytes=1 << 30, call_s=CALL_S, answer_bytes=1 << 20), at_once=2)
    made.call(faulty.process)
    yield made
    made.close()


def test_calls_go_to_one_child_that_is_not_this_process(sandbox: Sandbox) -> None:
    first, second = sandbox.call(faulty.process, b"bytes"), sandbox.call(faulty.process)
    assert first.values["pid"] == second.values["pid"] != os.getpid()
    assert bytes(first.content) == b"bytes"


def test_a_child_knows_no_secret_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("REGIONMIR_DATABASE_URL", "postgresql://user:secret@host/db")
    sandbox = Sandbox()
    request.addfinalizer(sandbox.close)
    assert not [name for name in sandbox.call(faulty.process).values["environment"] if name.startswith("REGIONMIR")]


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (faulty.crash, "decoder crashed"),
        (faulty.leave, "decoder crashed"),
        (faulty.grow, "needs too much memory"),
        (faulty.hang, "decoding takes too long"),
    ],
)
def test_what_a_decoder_does_to_its_process_costs_one_call(
    sandbox: Sandbox, operation: Callable[[], Answer], reason: str
) -> None:
    began = time.monotonic()
    with pytest.raises(BrokenImage) as error:
        sandbox.call(operation)
    assert error.value.reason == reason
    assert time.monotonic() - began < 30
    assert sandbox.call(faulty.process, b"next").content == b"next"


def test_a_child_damaged_by_an_earlier_object_fails_no_other(sandbox: Sandbox, tmp_path: Path) -> None:
    assert sandbox.call(faulty.crash_once, marker=str(tmp_path / "crashed")).values == {"fine": True}


def test_an_answer_larger_than_allowed_is_not_taken(sandbox: Sandbox) -> None:
    with pytest.raises(BrokenImage, match="decoder crashed: bad answer"):
        sandbox.call(faulty.flood, size=(1 << 20) + 1)


def test_errors_of_ours_come_back_and_others_without_their_text(sandbox: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedImage, match="lateral view: detail") as refused:
        sandbox.call(faulty.refuse)
    assert refused.value.reason == "lateral view"
    with pytest.raises(FileNotFoundError):
        sandbox.call(faulty.miss, path=str(tmp_path / "absent"))
    with pytest.raises(BrokenImage) as broken:
        sandbox.call(faulty.break_with, secret="Mustermann")
    assert str(broken.value) == "cannot be decoded: ValueError"


def test_a_machine_without_processes_left_fails_no_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/no/such/interpreter")
    with pytest.raises(Transient, match="no decoding process can be started"):
        Sandbox().call(faulty.process)


def test_more_callers_than_children_wait_for_their_turn(sandbox: Sandbox) -> None:
    with ThreadPoolExecutor(8) as callers:
        found = list(callers.map(lambda _: sandbox.call(faulty.process).values["pid"], range(32)))
    assert len(found) == 32
    assert len(set(found)) <= 2


def test_a_child_is_replaced_when_it_has_aged_and_none_is_left_at_the_end() -> None:
    sandbox = Sandbox(Limits(calls=2))
    pids = [sandbox.call(faulty.process).values["pid"] for _ in range(3)]
    assert pids[0] == pids[1] != pids[2]
    sandbox.close()
    assert not any(psutil.pid_exists(pid) for pid in pids)
