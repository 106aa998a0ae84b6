"""Watches everything that is logged during a test run, and fails the run where a patient's name or ID is in it.

What loggers of this process say is searched at once; what processes of ours write to standard error, at the end: into
a file, into a pipe that a test reads, or into the terminal that pytest captures.
"""

import logging
import re
import subprocess
import traceback
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any, Final

import pytest
import structlog

PATIENTS: Final = re.compile(
    rb"CANARY\d{5}|1\.2\.826\.0\.1\.4711\.\d+\.4711|\xe5\xad\x94\xe9\x9b\x80\xe9\xb3\xa5"  # tests.support.canaries
    rb"|Canary(?: description |\d+)|REALID\d+|CANARY-ID|CANARY\^"  # tests.support.seed and others
    rb"|SYN-\d{4}|SYN\d{6}|NEIGHBOUR-\d|SECRET-1"  # tests.support.films
    rb"|[A-Z]{3,8}-[0-9A-F]{12}\b"  # films of the demo and of `regionmir dicomize`
    rb"|[A-Za-z]{2,}\^[A-Za-z]{2,}"  # any name as DICOM writes it
)
"""Names and IDs of patients that tests invent."""

_PROCESSES: Final = ("regionmir", "dicom_node", "workers", "tests.support.fake_worker", "postgres")
MARKER: Final = "plants_leaks"
"""Of tests that log a patient on purpose."""


class LogWatch:
    """A plugin of pytest. `found`: where, and what."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []
        self.lines = 0
        self._files: dict[Path, str] = {}
        self._now, self._planted = "outside of tests", False
        self._undo: list[Callable[[], None]] = []

    def pytest_configure(self, config: pytest.Config) -> None:
        config.addinivalue_line("markers", f"{MARKER}: logs a patient on purpose")
        handler = _Handler(self)
        logging.root.addHandler(handler)
        self._undo.append(lambda: logging.root.removeHandler(handler))
        before = structlog.get_config()["processors"]
        structlog.configure(processors=[self._event, *before])
        self._undo.append(lambda: structlog.configure(processors=before))
        self._watch_processes()

    def pytest_unconfigure(self) -> None:
        while self._undo:
            self._undo.pop()()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._now, self._planted = item.nodeid, item.get_closest_marker(MARKER) is not None
        try:
            return (yield)
        finally:
            self._planted = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Search what processes wrote to the standard error that they have from us."""
        if not hasattr(report, "node"):  # else a worker of pytest-xdist has done so
            self.search(report.nodeid, report.capstderr.encode("utf-8", "replace"))

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        for path, test in self._files.items():
            if path.is_file():
                self.search(f"{test} ({path.name})", path.read_bytes())
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput[MARKER] = self.found
        if self.found and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take over what a worker of pytest-xdist found."""
        self.found += [(where, what) for where, what in getattr(node, "workeroutput", {}).get(MARKER, ())]

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.found:
            terminalreporter.section("patients in logs", red=True)
            for where, what in dict.fromkeys(self.found):
                terminalreporter.write_line(f"{where}: {what}")

    def search(self, where: str, written: bytes) -> None:
        """Look for patients in what was written, and remember where they were."""
        self.lines += written.count(b"\n") or 1
        if not self._planted:
            self.found += [(where, _around(written, match)) for match in PATIENTS.finditer(written)]

    def note(self, process: "subprocess.Popen[Any]", stderr: Any) -> None:
        """Remember where a process writes to."""
        if self._planted:
            return
        descriptor = stderr if isinstance(stderr, int) else getattr(stderr, "fileno", lambda: -1)()
        if descriptor >= 0:
            self._files.setdefault(Path(f"/proc/self/fd/{descriptor}").readlink(), self._now)
        elif stderr == subprocess.PIPE and process.stderr is not None:
            process.stderr = _Read(process.stderr, self, self._now)

    def _event(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        text = repr(dict(event)) + (traceback.format_exc() if event.get("exc_info") else "")
        self.search(f"{self._now} (in this process)", text.encode("utf-8", "replace"))
        return event

    def _watch_processes(self) -> None:
        """Note the standard error of every process of ours that is started from now on."""
        watch, made, told = self, subprocess.Popen.__init__, subprocess.Popen.communicate

        def init(self: Any, args: Any, *more: Any, **options: Any) -> None:
            self.watched = ""
            made(self, args, *more, **options)
            words = [args] if isinstance(args, str) else [str(word) for word in args]
            if any(word.startswith(_PROCESSES) or Path(word).name.startswith(_PROCESSES) for word in words):
                self.watched = watch._now
                watch.note(self, options.get("stderr"))

        def communicate(self: Any, *arguments: Any, **options: Any) -> Any:
            out, err = told(self, *arguments, **options)
            if self.watched and err:
                watch.search(self.watched, err if isinstance(err, bytes) else err.encode("utf-8", "replace"))
            return out, err

        subprocess.Popen.__init__ = init  # type: ignore[method-assign]
        subprocess.Popen.communicate = communicate  # type: ignore[method-assign]
        self._undo.append(lambda: setattr(subprocess.Popen, "__init__", made))
        self._undo.append(lambda: setattr(subprocess.Popen, "communicate", told))


class _Handler(logging.Handler):
    """Hands what the standard library's loggers say to the watch."""

    def __init__(self, watch: LogWatch) -> None:
        super().__init__(logging.NOTSET)
        self._watch = watch

    def emit(self, record: logging.LogRecord) -> None:
        self._watch.search(f"{self._watch._now} ({record.name})", self.format(record).encode("utf-8", "replace"))


class _Read:
    """The end of a pipe that a test reads: what it reads is searched too."""

    def __init__(self, stream: Any, watch: LogWatch, where: str) -> None:
        self._stream, self._watch, self._where = stream, watch, where

    def __iter__(self) -> Iterator[Any]:
        for line in self._stream:
            yield self._seen(line)

    def read(self, *size: int) -> Any:
        return self._seen(self._stream.read(*size))

    def readline(self) -> Any:
        return self._seen(self._stream.readline())

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _seen(self, part: Any) -> Any:
        self._watch.search(self._where, part if isinstance(part, bytes) else part.encode("utf-8", "replace"))
        return part


def _around(written: bytes, match: "re.Match[bytes]") -> str:
    line = written[max(0, match.start() - 60) : match.end() + 40]
    return line.decode("utf-8", "replace").replace("\n", " ")
