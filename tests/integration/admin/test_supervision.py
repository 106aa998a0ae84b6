"""Real child processes: small scripts in place of our own programs."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from regionmir.admin import supervision
from regionmir.admin.launching import tied_to_us
from regionmir.admin.ports import why_not_free
from regionmir.admin.supervision import NotReady, Program, Supervisor, end_leftovers
from tests.support.ports import free_port

READY = "from regionmir.core.readiness import tell_ready; tell_ready();"
SERVE = READY + "import time; time.sleep(60)"


def program(name: str, code: str, **options: object) -> Program:
    command = [sys.executable, "-P", "-c", code]
    return Program(
        name,
        lambda: tied_to_us(command, signal_at_death=signal.SIGTERM),
        dict(os.environ),
        **options,  # type: ignore[arg-type]
    )


def pids(supervisor: Supervisor) -> dict[str, int]:
    return {child.name: child.process.pid for child in supervisor._children if child.process is not None}


async def until(condition: Callable[[], bool], deadline_s: float = 60.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.02)


@pytest.fixture
def supervisor(tmp_path: Path) -> Supervisor:
    return Supervisor(tmp_path, tmp_path / "children.json")


def test_a_stage_starts_when_the_one_before_is_ready(supervisor: Supervisor, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    first = f"import time, pathlib; time.sleep(0.3); pathlib.Path({str(mark)!r}).touch();" + SERVE
    second = f"import pathlib, sys; pathlib.Path({str(mark)!r}).exists() or sys.exit(9);" + SERVE

    async def run() -> None:
        await supervisor.start([program("first", first)])
        await supervisor.start([program("second", second)])
        await supervisor.stop()

    asyncio.run(run())


def test_a_killed_process_is_started_again(supervisor: Supervisor) -> None:
    async def run() -> None:
        await supervisor.start([program("node", SERVE), program("web", SERVE)])
        before = pids(supervisor)
        os.kill(before["node"], signal.SIGKILL)
        await until(lambda: supervisor._children[0].restarts == 1)
        await until(lambda: psutil.pid_exists(pids(supervisor)["node"]))
        after = pids(supervisor)
        assert after["node"] != before["node"]
        assert after["web"] == before["web"]
        await supervisor.stop()
        assert not any(psutil.pid_exists(pid) for pid in after.values())

    asyncio.run(run())


def test_a_process_that_keeps_dying_is_started_after_longer_and_longer_pauses(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "FIRST_PAUSE_S", 0.05)
    starts = tmp_path / "starts"
    code = f"import time; open({str(starts)!r}, 'a').write(f'{{time.monotonic()}}\\n');" + READY + "raise SystemExit(3)"

    async def run() -> None:
        await supervisor.start([program("bad", code)])
        await until(lambda: len(starts.read_text().split()) >= 5)
        await supervisor.stop()

    asyncio.run(run())
    times = [float(line) for line in starts.read_text().split()]
    assert times[4] - times[3] > 0.4  # 0.05, 0.1, 0.2, 0.4


def test_processes_stop_in_the_reverse_order_of_their_start(supervisor: Supervisor, tmp_path: Path) -> None:
    order = tmp_path / "order"

    def mourned(name: str) -> str:
        return (
            "import signal, sys, time\n"
            f"def end(*_):\n    open({str(order)!r}, 'a').write({name + ' '!r}); sys.exit(0)\n"
            f"signal.signal(signal.SIGTERM, end)\n{READY}time.sleep(60)"
        )

    async def run() -> None:
        for name in ("database", "worker", "node", "web"):
            await supervisor.start([program(name, mourned(name))])
        await supervisor.stop()

    asyncio.run(run())
    assert order.read_text().split() == ["web", "node", "worker", "database"]


def test_a_process_that_does_not_stop_is_killed(supervisor: Supervisor) -> None:
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + SERVE

    async def run() -> None:
        await supervisor.start([program("deaf", code, stop_timeout_s=0.3)])
        (pid,) = pids(supervisor).values()
        await supervisor.stop()
        assert not psutil.pid_exists(pid)

    asyncio.run(run())


def test_a_process_that_ends_before_it_is_ready_fails_the_start_and_the_others_end(supervisor: Supervisor) -> None:
    async def run() -> None:
        with pytest.raises(NotReady, match=r"node ended with exit code 2; no weights here"):
            await supervisor.start(
                [
                    program("web", SERVE),
                    program("node", "print('no weights here'); raise SystemExit(2)", forward=True),
                ]
            )
        running = pids(supervisor)
        await supervisor.stop()
        assert not any(psutil.pid_exists(pid) for pid in running.values())

    asyncio.run(run())


def test_a_process_that_is_never_ready_fails_the_start(supervisor: Supervisor) -> None:
    async def run() -> None:
        with pytest.raises(NotReady, match="slow was not ready after 0 s"):
            await supervisor.start([program("slow", "import time; time.sleep(60)", ready_timeout_s=0.2)])
        await supervisor.stop()

    asyncio.run(run())


def test_a_stop_while_a_stage_starts_ends_it(supervisor: Supervisor) -> None:
    async def run() -> None:
        asyncio.get_running_loop().call_later(0.3, supervisor.request_stop)
        await supervisor.start([program("slow", "import time; time.sleep(60)")])
        assert supervisor.stopping
        await supervisor.stop()
        assert not any(psutil.pid_exists(pid) for pid in pids(supervisor).values())

    asyncio.run(run())


PARENT = """
import asyncio, os, signal, sys
from pathlib import Path
from regionmir.admin.launching import tied_to_us
from regionmir.admin.supervision import Program, Supervisor
folder = Path(sys.argv[1])
async def run():
    supervisor = Supervisor(folder, folder / "children.json")
    command = [sys.executable, "-P", "-c", sys.argv[2]]
    launched = lambda: tied_to_us(command, signal_at_death=signal.SIGTERM)
    await supervisor.start([Program("child", launched, dict(os.environ))])
    print(supervisor._children[0].process.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(run())
"""


def killed_parent(tmp_path: Path, child: str) -> int:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path), child], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    return pid


def test_children_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    pid = killed_parent(tmp_path, SERVE)
    asyncio.run(until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE))


def test_the_next_run_kills_what_a_killed_supervisor_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "LEFTOVER_PATIENCE_S", 0.3)
    pid = killed_parent(tmp_path, "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + SERVE)
    assert psutil.pid_exists(pid)
    end_leftovers(tmp_path / "children.json")
    asyncio.run(until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE))


STUBBORN = """
import os, signal, socket, sys, time
from regionmir.core.readiness import tell_ready
signal.signal(signal.SIGTERM, signal.SIG_IGN)
taken = socket.create_server(("127.0.0.1", {port}))
if os.fork():
    taken.close()
tell_ready()
time.sleep(60)
"""
"""Does not end when it is told to; what it forked listens."""


def test_the_next_run_goes_on_when_the_ports_of_what_was_left_are_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "LEFTOVER_PATIENCE_S", 0.3)
    port = free_port()
    killed_parent(tmp_path, STUBBORN.format(port=port))
    assert why_not_free("127.0.0.1", port) is not None
    end_leftovers(tmp_path / "children.json")
    assert why_not_free("127.0.0.1", port) is None


def test_a_process_number_that_now_belongs_to_another_is_left_alone(tmp_path: Path) -> None:
    record = tmp_path / "children.json"
    with subprocess.Popen(["sleep", "30"]) as other:
        record.write_text(f"[[{other.pid}, {psutil.Process(other.pid).create_time() - 100}]]")
        end_leftovers(record)
        assert other.poll() is None
        other.kill()
