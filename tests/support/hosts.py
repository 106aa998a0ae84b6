"""Hosts on one machine: network namespaces on a bridge, each with an address and a stack of its own. Needs root.

A host that is killed loses its link first and then its processes, without a word to those that it talked to, as when
the power goes.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

NETWORK = "10.231.77"
OURS = f"{NETWORK}.1"
"""The address of whoever runs the test."""


def why_not() -> str:
    """Return what keeps hosts from being made here, empty where nothing does."""
    if os.geteuid() != 0:
        return "root, for network namespaces"
    if shutil.which("ip") is None:
        return "ip (apt-get install iproute2)"
    tried = subprocess.run(["ip", "netns", "add", "rgn-try"], capture_output=True)
    subprocess.run(["ip", "netns", "del", "rgn-try"], capture_output=True)
    return "" if tried.returncode == 0 else "the right to make network namespaces"


@dataclass
class Host:
    """One host: what it runs is started in its namespace and logs to a file of its own."""

    name: str
    number: int
    logs: Path
    environment: Mapping[str, str]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"{NETWORK}.{self.number}"

    @property
    def _link(self) -> str:
        return f"rgn{self.number}"

    def plug_in(self) -> None:
        """Make the namespace and connect it to the bridge."""
        inside = f"rgi{self.number}"
        subprocess.run(["ip", "link", "del", self._link], capture_output=True, check=False)  # a killed test's
        _ip("netns", "add", self.name)
        _ip("link", "add", self._link, "type", "veth", "peer", "name", inside)
        _ip("link", "set", inside, "netns", self.name)
        _ip("link", "set", self._link, "master", Network.BRIDGE, "up")
        for words in (
            ("addr", "add", f"{self.address}/24", "dev", inside),
            ("link", "set", inside, "up"),
            ("link", "set", "lo", "up"),
        ):
            _ip("-n", self.name, *words)

    def run(self, *command: str, **environment: str) -> None:
        """Start a program on this host."""
        with (self.logs / f"{self.name}.log").open("ab") as log:
            self.processes.append(
                subprocess.Popen(
                    ["ip", "netns", "exec", self.name, *command],
                    env={**self.environment, **environment},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            )

    def kill(self) -> None:
        """Cut the power: the link goes, then every process; nobody is told."""
        _ip("link", "set", self._link, "down")
        for process in self.processes:
            process.kill()
        listed = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=True)
        for pid in listed.stdout.split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        for process in self.processes:
            process.wait()
        self.processes.clear()

    def power_on(self) -> None:
        """Give the host its link back; what runs on it is for the caller to start."""
        _ip("link", "set", self._link, "up")


class Network:
    """The bridge and its hosts, gone after a `with` block."""

    BRIDGE = "rgnbridge"

    def __init__(self, logs: Path, environment: Mapping[str, str]) -> None:
        self._logs = logs
        self._environment = environment
        self.hosts: dict[str, Host] = {}

    def __enter__(self) -> Self:
        self._remove_left_over()
        _ip("link", "add", self.BRIDGE, "type", "bridge")
        _ip("addr", "add", f"{OURS}/24", "dev", self.BRIDGE)
        _ip("link", "set", self.BRIDGE, "up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for host in self.hosts.values():
            host.kill()
        for name in self.hosts:
            _ip("netns", "del", name)
        _ip("link", "del", self.BRIDGE)

    def host(self, name: str, number: int) -> Host:
        """Return a new host with the address `NETWORK`.`number`."""
        host = Host(f"rgn-{name}", number, self._logs, self._environment)
        self.hosts[host.name] = host
        host.plug_in()
        return host

    def _remove_left_over(self) -> None:
        """Remove what a killed test left."""
        listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
        for name in (line.split()[0] for line in listed.splitlines()):
            if name.startswith("rgn-"):
                subprocess.run(["ip", "netns", "del", name], check=False)
        subprocess.run(["ip", "link", "del", self.BRIDGE], capture_output=True, check=False)


def wait_for_port(address: str, port: int, deadline_s: float = 300.0) -> None:
    """Return once a host takes connections on a port."""
    import socket

    end = time.monotonic() + deadline_s
    while True:
        try:
            socket.create_connection((address, port), 2).close()
            return
        except OSError:
            assert time.monotonic() < end, f"{address}:{port} takes no connection"
            time.sleep(0.2)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
