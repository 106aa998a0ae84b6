"""A node of several processes: each accepts associations at the same port, and one looks after them.

Python runs one thread at a time, so that one process uses one core. The processes are forked from one that has loaded
everything and has no other thread; they inherit its listening sockets. One that dies is started again; all die with
their parent.
"""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import structlog

from regionmir.core.errors import ConfigurationError

log = structlog.get_logger(__name__)

MOST = 8
"""Processes that a node has unless told: more hardly pay beside the database."""

PAUSE_S = 1.0
"""Between the end of a process and its next start."""

STOP_S = 15.0
"""How long a process may take to end its associations and itself."""

_OURS = (signal.SIGINT, signal.SIGTERM)
_PR_SET_PDEATHSIG = 1

Serve = Callable[[int, Callable[[], None]], None]
"""Serves as the process of this number until it is told to stop; calls its second argument when it takes associations.
"""


def count(wanted: int) -> int:
    """Return how many processes a node has: as many as `wanted`, for 0 as this process may use cores."""
    return wanted or min(MOST, len(os.sched_getaffinity(0)))


@dataclass(slots=True)
class Processes:
    """So many processes that do `serve`. Made and used by a process that has no other thread."""

    number: int
    serve: Serve
    _woken: socket.socket = field(init=False)
    _waker: socket.socket = field(init=False)
    _running: dict[int, BaseProcess] = field(default_factory=dict)
    _stopping: bool = False

    def __post_init__(self) -> None:
        self._woken, self._waker = socket.socketpair()

    def start(self) -> None:
        """Return when all take associations. Raises `ConfigurationError` where one ends instead; none is left then."""
        try:
            for number in range(self.number):
                self._start_one(number)
        except ConfigurationError:
            self.stop()
            raise

    def request_stop(self) -> None:
        """End `keep`. Safe in a signal handler."""
        self._stopping = True
        with contextlib.suppress(OSError):  # it has stopped
            self._waker.send(b"\0")

    def keep(self, clean_up: Callable[[], None]) -> None:
        """Start again what ends, until `request_stop`; `clean_up` is called after each end."""
        while not self._stopping:
            wait([self._woken, *(one.sentinel for one in self._running.values())])
            for number, ended in [(at, one) for at, one in self._running.items() if not one.is_alive()]:
                del self._running[number]
                if not self._stopping:
                    log.error("acceptor ended", pid=ended.pid, code=ended.exitcode)
                    clean_up()
                    self._start_again(number)

    def stop(self) -> None:
        """Have all end their associations and themselves; kill what does not in time."""
        for one in self._running.values():
            one.terminate()
        end = time.monotonic() + STOP_S
        for one in self._running.values():
            one.join(max(0.0, end - time.monotonic()))
            if one.is_alive():
                log.error("acceptor killed, as it did not stop", pid=one.pid)
                one.kill()
                one.join()
        self._running.clear()
        self._woken.close()
        self._waker.close()

    def _start_again(self, number: int) -> None:
        wait([self._woken], PAUSE_S)
        while not self._stopping:
            try:
                self._start_one(number)
                return
            except ConfigurationError as error:
                log.error("acceptor did not start", error=str(error))
                wait([self._woken], PAUSE_S)

    def _start_one(self, number: int) -> None:
        context = multiprocessing.get_context("fork")
        told, tell = context.Pipe(duplex=False)
        process = context.Process(target=_child, args=(self.serve, number, tell, os.getpid()))
        signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)  # the child must not take them as we do
        process.start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _OURS)
        tell.close()
        with told:
            try:
                told.recv_bytes()
            except EOFError:
                process.join()
                raise ConfigurationError("a process of the node ended while it started; see the log") from None
        self._running[number] = process


def _child(serve: Serve, number: int, tell: Connection, parent: int) -> None:
    """Be one of the processes: die with the parent, leave Ctrl-C to it, serve."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _OURS)
    with tell:
        serve(number, lambda: tell.send_bytes(b"ready"))
