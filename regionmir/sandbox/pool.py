"""The child processes of one process: started when first needed, used again, replaced when they die or have aged."""

import atexit
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import structlog

from regionmir.core.errors import BrokenImage, SandboxUnavailable
from regionmir.core.settings import Settings
from regionmir.sandbox import failures
from regionmir.sandbox.limits import Limits
from regionmir.sandbox.wire import Answer, BadMessage, receive, send

AT_ONCE: Final = 2
"""Children at most: as many films as are decoded at once."""

_START_S: Final = 60.0

TOO_SLOW: Final = "decoding takes too long"
CRASHED: Final = "decoder crashed"

_PASSED_ON: Final = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "VIRTUAL_ENV", "SYSTEMROOT")
_ONE_THREAD: Final = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_KEPT_MEMORY: Final = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}
"""For glibc: what one film took stays for the next one. To give it back and take it page by page costs 1 ms a film."""

log = structlog.get_logger(__name__)


class Crashed(Exception):
    """The child ended in the middle of a call; the message is the signal that ended it."""


class Child:
    """One child process. It knows no secret: of the environment it gets only what an interpreter needs.

    Raises `SandboxUnavailable` where it does not start.
    """

    def __init__(self, limits: Limits) -> None:
        self.calls_left = limits.calls
        self._limits = limits
        self._connection, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = _started(limits, theirs.fileno())
            except OSError as error:
                self._connection.close()
                raise SandboxUnavailable(f"no decoding process can be started: {error.strerror}") from None
        try:
            receive(_Deadline(self._connection, _START_S), limits.answer_bytes)
        except (BadMessage, OSError):
            self.end()
            raise SandboxUnavailable("a decoding process did not start; is there memory left?") from None

    def call(self, message: Answer) -> Answer:
        """Return what the child answers. Raises `Crashed` and `TimeoutError`; the child is then of no use."""
        self.calls_left -= 1
        try:
            before = _Deadline(self._connection, _START_S)
            send(before, message)
            receive(before, self._limits.answer_bytes)
            return receive(_Deadline(self._connection, self._limits.call_s), self._limits.answer_bytes)
        except TimeoutError:
            raise
        except (BadMessage, OSError):
            raise Crashed(self._how_it_ended()) from None

    def end(self) -> None:
        """End the child now."""
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return "bad answer"
        return signal.Signals(-code).name if code < 0 else f"exit {code}"


def _started(limits: Limits, descriptor: int) -> "subprocess.Popen[bytes]":
    arguments = map(str, (descriptor, limits.memory_bytes, limits.call_s))
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "regionmir.sandbox.child", *arguments],
        env=_environment(),
        pass_fds=[descriptor],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


class _Deadline:
    """A connection whose whole exchange must be over in time, however many pieces it comes in."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection = connection
        self._end = time.monotonic() + seconds

    def sendall(self, data: bytes | memoryview) -> None:
        self._set_timeout()
        self._connection.sendall(data)

    def recv_into(self, buffer: memoryview) -> int:
        self._set_timeout()
        return self._connection.recv_into(buffer)

    def _set_timeout(self) -> None:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)


class Sandbox:
    """Calls functions in child processes. May be used from any thread; those who come when all are busy wait."""

    def __init__(self, limits: Limits | None = None, at_once: int = AT_ONCE) -> None:
        self.limits = limits or Limits()
        """Of the children that are started from now on."""
        self.lost = 0
        """Children that died or were stopped in a call."""
        self._free = threading.BoundedSemaphore(at_once)
        self._idle: list[Child] = []
        self._lock = threading.Lock()

    def call(self, operation: Callable[..., Answer], content: bytes | memoryview = b"", **arguments: Any) -> Answer:
        """Return what `operation`, a function of a module, returns for these values in a child process.

        Raises what the function raises if that is an error of ours or an `OSError`, `BrokenImage` for any other and
        where the child takes too much time or memory. One that crashes is given a second try in a new child: an
        earlier call may have left the first one damaged.
        """
        message = Answer(
            {"module": operation.__module__, "name": operation.__name__, "arguments": arguments}, memoryview(content)
        )
        try:
            answer = self._once(message)
        except Crashed:
            try:
                answer = self._once(message, fresh=True)
            except Crashed as again:
                log.warning("decoding process crashed", operation=operation.__name__, how=str(again))
                raise BrokenImage(CRASHED, str(again)) from None
        if "error" in answer.values:
            raise failures.read(answer.values["error"])
        return Answer(answer.values["answer"], answer.content)

    def close(self) -> None:
        """End all children that are idle. A later call starts new ones."""
        with self._lock:
            idle, self._idle = self._idle, []
        for child in idle:
            child.end()

    def _once(self, message: Answer, *, fresh: bool = False) -> Answer:
        with self._child(fresh=fresh) as child:
            try:
                return child.call(message)
            except TimeoutError:
                log.warning("decoding process stopped", operation=message.values["name"], after_s=self.limits.call_s)
                raise BrokenImage(TOO_SLOW, f"limit {self.limits.call_s:g} s") from None

    @contextmanager
    def _child(self, *, fresh: bool) -> Iterator[Child]:
        """Give a child for one call; it is kept for the next one unless it failed or has aged."""
        with self._free:
            child = self._taken(fresh=fresh)
            try:
                yield child
            except BaseException:
                self.lost += 1
                child.end()
                raise
            if child.calls_left > 0:
                with self._lock:
                    self._idle.append(child)
            else:
                child.end()

    def _taken(self, *, fresh: bool) -> Child:
        with self._lock:
            child = self._idle.pop() if self._idle else None
        if child is not None and fresh:
            child.end()
            child = None
        return child or Child(self.limits)


def _environment() -> dict[str, str]:
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {
        **passed_on,
        **_ONE_THREAD,
        **_KEPT_MEMORY,
        "PYTHONPATH": os.pathsep.join(part for part in sys.path if part),
    }


_shared: list[Sandbox] = []
_shared_lock = threading.Lock()


def shared() -> Sandbox:
    """Return the sandbox of this process, like the table of decoders one for all; its children end with the process."""
    with _shared_lock:
        if not _shared:
            _shared.append(Sandbox())
            atexit.register(_shared[0].close)
        return _shared[0]


def limit_decoding(settings: Settings) -> None:
    """Set the limits of the children that `shared` starts from now on."""
    shared().limits = Limits(settings.decode_memory_bytes, settings.decode_timeout_s)
