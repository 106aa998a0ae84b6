"""A RegionMIR of our own for a while: `regionmir up` as a child process on free ports and its own data folder."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from regionmir.admin.running import endpoints_of, running_settings
from regionmir.core.errors import RegionMirError
from regionmir.core.settings import Settings, load_settings

START_DEADLINE_S = 180.0
STOP_DEADLINE_S = 60.0


class DidNotStart(RegionMirError):
    """`regionmir up` ended, or was not ready in time; the message holds the end of its log."""


@dataclass(slots=True)
class Instance:
    """`regionmir up` on `data_dir`, ready inside a `with` block and stopped with all its children after it."""

    data_dir: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    dicom_port: int = 0
    http_port: int = 0
    _process: "subprocess.Popen[bytes] | None" = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def log_path(self) -> Path:
        return self.data_dir.with_name(f"{self.data_dir.name}.log")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and return when it is ready. Raises `DidNotStart`."""
        self.dicom_port = self.dicom_port or free_port()
        self.http_port = self.http_port or free_port()
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "regionmir.admin", "up"],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches us alone, and we stop it in order
            )
        self._wait_ready()

    def settings(self) -> Settings:
        """Return settings that reach the running processes."""
        return running_settings(self._asked())

    def stop(self) -> None:
        """Stop it in order; kills what does not stop within a minute."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """Kill the supervising process the hard way; its children die with it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(STOP_DEADLINE_S)

    def _asked(self) -> Settings:
        return load_settings(data_dir=self.data_dir, dicom_port=self.dicom_port, http_port=self.http_port)

    def _environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.upper().startswith("REGIONMIR_")}
        ours = {
            "REGIONMIR_DATA_DIR": str(self.data_dir.resolve()),
            "REGIONMIR_DICOM_PORT": str(self.dicom_port),
            "REGIONMIR_HTTP_PORT": str(self.http_port),
        }
        return kept | ours | dict(self.environment)

    def _wait_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_DEADLINE_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise DidNotStart(f"regionmir up ended with exit code {self._process.returncode}:\n{self._log_end()}")
            found = endpoints_of(self._asked())
            if found is not None and found.pid == self._process.pid:  # not what a killed one left behind
                return
            time.sleep(0.1)
        self.stop()
        raise DidNotStart(f"regionmir up was not ready after {START_DEADLINE_S:.0f} s:\n{self._log_end()}")

    def _log_end(self, lines: int = 15) -> str:
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
