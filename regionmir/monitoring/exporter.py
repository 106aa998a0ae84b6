"""Where Prometheus fetches the figures of one process, and how it finds that place.

With `metrics_port` 0 the system chooses the port, and the process writes it down in `<data>/run/metrics`, in the form
that Prometheus reads (`file_sd_configs`). Monitoring never keeps a process from its work: what fails here is logged.
"""

import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Final, Self
from wsgiref.simple_server import WSGIServer

import structlog
from prometheus_client import start_http_server

from regionmir.core.errors import ConfigurationError
from regionmir.core.settings import Settings
from regionmir.monitoring.figures import REGISTRY

PROCESSES: Final = ("node", "index worker", "light worker")
"""In the order of their ports, where `metrics_port` names the first."""

log = structlog.get_logger(__name__)


class Exporter:
    """Serves `/metrics` of this process inside a `with` block. `number`: of several processes of a node, which."""

    def __init__(self, settings: Settings, process: str, number: int = 0) -> None:
        self._host = settings.metrics_host
        self._port = settings.metrics_port and settings.metrics_port + _offset(process, number)
        self._process = process
        self._folder = metrics_folder(settings)
        self._running: tuple[WSGIServer, Thread] | None = None

    @property
    def port(self) -> int:
        """The port that answers; 0 where none does."""
        return int(self._running[0].server_port) if self._running else 0

    def __enter__(self) -> Self:
        try:
            self._running = start_http_server(self._port, self._host, REGISTRY)
            self._write_down()
        except OSError as error:
            log.warning("no metrics", port=self._port, why=error.strerror or type(error).__name__)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.unlink(missing_ok=True)
        if self._running is not None:
            server, thread = self._running
            server.shutdown()
            server.server_close()
            thread.join(5)

    @property
    def _file(self) -> Path:
        return self._folder / f"{self._process.replace(' ', '-')}@{socket.gethostname()}@{os.getpid()}.json"

    def _write_down(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _forget_the_dead(self._folder)
        host = socket.gethostname() if self._host in ("0.0.0.0", "::") else self._host  # noqa: S104 - compared
        found = [{"targets": [f"{host}:{self.port}"], "labels": {"process": self._process}}]
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps(found), encoding="utf-8")
        new.replace(self._file)


def _offset(process: str, number: int) -> int:
    """Return how far its port is from the first; further processes of a node follow those of all kinds."""
    return len(PROCESSES) + number - 1 if number else PROCESSES.index(process)


def metrics_ports(settings: Settings, node_processes: int) -> dict[int, str]:
    """Return which process tells its figures at which port; none where the system chooses (`metrics_port` 0).

    Raises `ConfigurationError` where one of them is a port that we serve at, or is none.
    """
    if not settings.metrics_port:
        return {}
    of_all = [(process, 0) for process in PROCESSES] + [("node", number) for number in range(1, node_processes)]
    told = {settings.metrics_port + _offset(*one): f"{one[0]} {one[1] + 1}" if one[1] else one[0] for one in of_all}
    serving = {
        settings.dicom_port: "REGIONMIR_DICOM_PORT",
        settings.dicom_tls_port: "REGIONMIR_DICOM_TLS_PORT",
        settings.http_port: "REGIONMIR_HTTP_PORT",
    }
    for port, process in told.items():
        if port in serving:
            raise ConfigurationError(
                f"REGIONMIR_METRICS_PORT {settings.metrics_port} gives the {process} port {port}, which is "
                f"{serving[port]}: the processes take {settings.metrics_port} to {max(told)}; choose another, or 0"
            )
    return told


def metrics_folder(settings: Settings) -> Path:
    """Return the folder with one file of targets for each process."""
    return settings.run_dir / "metrics"


def _forget_the_dead(folder: Path) -> None:
    """Remove what killed processes of this host left."""
    for file in folder.glob(f"*@{socket.gethostname()}@*.json"):
        with suppress(ValueError, PermissionError):
            pid = int(file.stem.rpartition("@")[2])
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                file.unlink(missing_ok=True)
