"""Watching child processes: start when what they need is ready, restart with a growing pause, stop in order.

Each child runs in a session of its own (a Ctrl-C reaches only us), tells by `NOTIFY_SOCKET` that it is ready, and gets
a signal from the kernel should we be killed (`launch.py`).
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import structlog

from regionmir.admin.ended import still_running
from regionmir.core.errors import ConfigurationError
from regionmir.core.readiness import NOTIFY_VARIABLE

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
STEADY_S = 60.0
"""A process that ran this long starts again after the first pause, not the next longer one."""

LEFTOVER_PATIENCE_S = 5.0
_POLL_S = 0.05
_LINE_LIMIT = 2**20

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Program:
    """One process to keep running."""

    name: str
    command: Callable[[], list[str]]
    environment: Mapping[str, str]
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: float = 20.0
    ready_timeout_s: float = 300.0
    prepare: Callable[[], None] = lambda: None
    """Done before each start."""
    is_ready: Callable[[], bool] | None = None
    """Asked again and again; None: the process tells."""
    may_be_killed: bool = True
    """What a killed supervisor leaves of it may be ended by force; False: `prepare` sees to that."""
    forward: bool = False
    """Its output is plain text that we log; otherwise it logs as we do and shares our standard error."""


class NotReady(Exception):
    """A process ended, or let its time pass, before it was ready. The message says which and why."""


@dataclass
class Child:
    """A program's process, whichever of its lives it is in. `folder`: for its notification socket."""

    program: Program
    folder: Path
    started: Callable[[], None] = lambda: None
    process: asyncio.subprocess.Process | None = None
    restarts: int = 0
    _said: deque[str] = field(default_factory=lambda: deque(maxlen=5))
    _reader: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return self.program.name

    async def start(self) -> None:
        """Start the process and return when it is ready. Raises `NotReady`."""
        program = self.program
        await asyncio.to_thread(program.prepare)
        self._said.clear()
        with self._notices() as notices:
            output = asyncio.subprocess.PIPE if program.forward else sys.stderr.fileno()
            self.process = await asyncio.create_subprocess_exec(
                *program.command(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT if program.forward else output,
                env={**program.environment, NOTIFY_VARIABLE: str(self._notice_path)},
                cwd="/" if program.forward else None,
                start_new_session=True,
                limit=_LINE_LIMIT,
            )
            self.started()
            if program.forward:
                self._reader = asyncio.create_task(self._forward(self.process.stdout))
            await self._until_ready(notices)

    async def keep(self) -> None:
        """Start the process again whenever it ends, for ever: cancel this before `stop`."""
        began, pause_s = time.monotonic(), FIRST_PAUSE_S
        while True:
            await self._ended()
            _log.error("process ended", name=self.name, how=self._how_ended(), said=list(self._said) or None)
            if time.monotonic() - began >= STEADY_S:
                pause_s = FIRST_PAUSE_S
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            began = time.monotonic()
            self.restarts += 1
            try:
                await self.start()
                _log.warning("process started again", name=self.name, restarts=self.restarts)
            except (NotReady, ConfigurationError, OSError) as error:
                _log.error("process did not start again", name=self.name, error=str(error))
                await self.stop()

    async def stop(self) -> None:
        """Ask the process to end, and end it by force when its time is over."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(self.program.stop_signal)
        try:
            await asyncio.wait_for(self.process.wait(), self.program.stop_timeout_s)
        except TimeoutError:
            _log.error("process killed, as it did not stop", name=self.name, after_s=self.program.stop_timeout_s)
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()
        if self._reader is not None:
            await self._reader
            self._reader = None
        self._notice_path.unlink(missing_ok=True)

    @property
    def _notice_path(self) -> Path:
        return self.folder / self.name.replace(" ", "-")

    @contextlib.contextmanager
    def _notices(self) -> Iterator[socket.socket]:
        self._notice_path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as notices:
            notices.bind(str(self._notice_path))
            yield notices

    async def _until_ready(self, notices: socket.socket) -> None:
        ready = asyncio.create_task(self._told(notices) if self.program.is_ready is None else self._answers())
        ended = asyncio.create_task(self._ended())
        try:
            done, _ = await asyncio.wait(
                {ready, ended}, timeout=self.program.ready_timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            ready.cancel()
            ended.cancel()
        if ready in done:
            return
        why = self._how_ended() if ended in done else f"was not ready after {self.program.ready_timeout_s:.0f} s"
        said = list(self._said) if self.program.forward else ["what it said is above"]
        raise NotReady("; ".join([f"{self.name} {why}", *said]))

    async def _told(self, notices: socket.socket) -> None:
        while b"READY=1" not in await asyncio.get_running_loop().sock_recv(notices, 4096):
            continue

    async def _answers(self) -> None:
        assert self.program.is_ready is not None
        while not await asyncio.to_thread(self.program.is_ready):
            await asyncio.sleep(_POLL_S)

    async def _ended(self) -> None:
        assert self.process is not None
        await self.process.wait()
        if self._reader is not None:
            await asyncio.wait({self._reader}, timeout=1)

    def _how_ended(self) -> str:
        code = self.process.returncode if self.process is not None else None
        if code is not None and code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    async def _forward(self, lines: asyncio.StreamReader | None) -> None:
        assert lines is not None
        while True:
            try:
                line = (await lines.readline()).decode("utf-8", "replace").strip()
            except ValueError:  # longer than the limit
                continue
            if not line:
                if lines.at_eof():
                    return
                continue
            self._said.append(line[:500])
            level = "warning" if line.startswith(("WARNING", "ERROR", "FATAL", "PANIC")) else "debug"
            getattr(_log, level)("said", name=self.name, line=line[:500])


class Supervisor:
    """Runs programs in stages: a stage starts when the one before is ready, and the last started is stopped first."""

    def __init__(self, folder: Path, record: Path) -> None:
        """`folder` takes the notification sockets; `record` lists the processes for whoever comes after a kill."""
        self._folder = folder
        self._record = record
        self._children: list[Child] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()

    def request_stop(self) -> None:
        """Let `until_stopped` (and a `start` that is under way) end."""
        self._stop.set()

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    async def start(self, programs: Sequence[Program]) -> None:
        """Start a stage and return when all of it is ready (or a stop was asked for). Raises `NotReady`."""
        stage = [Child(program, self._folder, self._write_record) for program in programs]
        self._children += stage
        starting = asyncio.create_task(_start_all(stage))
        stop = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({starting, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            starting.cancel()
            await asyncio.wait({starting})
        if starting.cancelled():
            return
        starting.result()
        self._keepers += [asyncio.create_task(child.keep(), name=child.name) for child in stage]

    async def until_stopped(self) -> None:
        """Return when a stop is asked for; meanwhile what ends is started again."""
        await self._stop.wait()

    async def stop(self) -> None:
        """Stop every process, the last of the list first, each before the next."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for child in reversed(self._children):
            await child.stop()
            _log.info("process stopped", name=child.name)
        self._record.unlink(missing_ok=True)

    def _write_record(self) -> None:
        alive = [c for c in self._children if c.process is not None and c.process.returncode is None]
        _write_pids(self._record, [c.process.pid for c in alive if c.process is not None and c.program.may_be_killed])


async def _start_all(stage: Sequence[Child]) -> None:
    """Start all at once; where one fails the others are given up, and its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for child in stage:
                group.create_task(child.start())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


def end_leftovers(record: Path) -> None:
    """See the processes of a killed supervisor end, and those that they started; the kernel told them to.

    Who does not obey is killed. Returns when they are gone: until then they hold their ports.
    """
    left = [process for one in _recorded(record) for process in _with_descendants(one)]
    if not left:
        return
    _log.warning("waiting for processes of an earlier run to end", pids=[p.pid for p in left])
    for process in still_running(left, LEFTOVER_PATIENCE_S):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    still_running(left, LEFTOVER_PATIENCE_S)
    record.unlink(missing_ok=True)


def _with_descendants(process: psutil.Process) -> "list[psutil.Process]":
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _write_pids(record: Path, pids: Sequence[int]) -> None:
    entries = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            entries.append([pid, psutil.Process(pid).create_time()])
    new = record.with_name(record.name + ".new")
    new.write_text(json.dumps(entries), encoding="utf-8")
    new.replace(record)


def _recorded(record: Path) -> "list[psutil.Process]":
    try:
        entries = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    found = []
    for pid, created in entries:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if abs(process.create_time() - created) < 1 and pid != os.getpid():
                found.append(process)
    return found
