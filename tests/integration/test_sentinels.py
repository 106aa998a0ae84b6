"""A real Redis with a replica and a Sentinel: the master is killed, and wake-ups go to the new one."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis

from regionmir.core.errors import BrokerUnavailable
from regionmir.queue import INDEX_QUEUE, CeleryQueue, redis_client
from tests.conftest import absent
from tests.support.ports import free_port


@dataclass
class Group:
    """Master, replica and one Sentinel, on ports of the loopback."""

    binary: str
    folder: Path
    master: int = field(default_factory=free_port)
    replica: int = field(default_factory=free_port)
    sentinel: int = field(default_factory=free_port)
    processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"sentinel://127.0.0.1:{self.sentinel}/0?master=main"

    def start(self) -> None:
        none = ("--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0")
        self._run(self.master, "--port", str(self.master), *none)
        self._run(self.replica, "--port", str(self.replica), "--replicaof", "127.0.0.1", str(self.master), *none)
        configuration = self.folder / "sentinel.conf"
        configuration.write_text(
            f"port {self.sentinel}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {self.master} 1\n"
            "sentinel down-after-milliseconds main 3000\nsentinel failover-timeout main 2000\n"
        )
        until(lambda: self.info(self.replica, "master_link_status") == "up")
        self._run(self.sentinel, str(configuration), "--sentinel")
        until(lambda: (self.info(self.sentinel, "master0") or {}).get("slaves") == 1)

    def kill_master(self) -> None:
        self.processes[self.master].kill()

    def stop(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()

    def info(self, port: int, name: str) -> Any:
        """Return what a server says of itself; None where it does not answer."""
        try:
            with redis.Redis(port=port) as client:
                return client.info().get(name)
        except redis.RedisError:
            return None

    def _run(self, port: int, *words: str) -> None:
        self.processes[port] = subprocess.Popen([self.binary, *words], stdout=subprocess.DEVNULL, cwd=self.folder)


def until(condition: Callable[[], bool], deadline_s: float = 60.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Group]:
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    if binary is None:
        absent("redis-server or valkey-server")
    with ExitStack() as at_end:
        found = Group(binary, tmp_path)
        at_end.callback(found.stop)
        found.start()
        yield found


def test_wake_ups_go_to_whichever_redis_is_the_master(group: Group) -> None:
    queue = CeleryQueue(group.url)
    queue.wake()
    assert queue.depth() == 1
    group.kill_master()

    def woken() -> bool:
        try:
            queue.wake()
        except BrokerUnavailable:
            return False
        return True

    until(lambda: group.info(group.replica, "role") == "master")
    until(woken)
    with redis.Redis(port=group.replica) as client:
        assert int(client.llen(INDEX_QUEUE)) >= 1
    queue.close()


def test_a_client_of_the_master_asks_the_sentinels_who_that_is(group: Group) -> None:
    client = redis_client(group.url)
    assert client.info("replication")["role"] == "master"
    client.close()
