"""`regionmir up` as a user runs it: all processes for real."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from regionmir.admin.ended import still_running
from regionmir.admin.postgres import LocalPostgres
from regionmir.admin.scraping import targets
from regionmir.core.errors import RegionMirError
from regionmir.core.identifiers import parse_ae_title
from regionmir.scu.echo import echo
from regionmir.scu.peer import PeerAddress
from tests.support.ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PROGRAMS = ("postgres", "redis-server", "workers index", "workers light", "dicom_node", "regionmir.web")
START_DEADLINE_S = 300.0


def until(condition: Callable[[], Any], why: Callable[[], str] = str, deadline_s: float = 60.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"waited in vain: {why()}"
        time.sleep(0.1)


def listening(process: psutil.Process) -> list[int]:
    """Return the TCP ports on which it listens; one that ended meanwhile listens on none."""
    try:
        return [one.laddr.port for one in process.net_connections("inet") if one.status == psutil.CONN_LISTEN]
    except psutil.NoSuchProcess:
        return []


@dataclass
class Instance:
    """One `regionmir up` with its own data folder and ports."""

    folder: Path
    environment: dict[str, str]
    process: "subprocess.Popen[str] | None" = None
    why: str = ""

    @property
    def log(self) -> Path:
        return self.folder / "up.log"

    @property
    def data(self) -> Path:
        return Path(self.environment["REGIONMIR_DATA_DIR"])

    @property
    def dicom_port(self) -> int:
        return int(self.environment["REGIONMIR_DICOM_PORT"])

    def launch(self, **changes: str) -> "subprocess.Popen[str]":
        with self.log.open("a") as log:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "regionmir.admin", "up"],
                cwd=self.folder, env={**self.environment, **changes}, stdout=log, stderr=log, text=True,
            )  # fmt: skip

    def start(self) -> None:
        self.process = self.launch()
        until(self.is_ready, deadline_s=START_DEADLINE_S)

    def is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        try:
            found = json.loads((self.data / "run" / "endpoints.json").read_text())
        except FileNotFoundError:
            return False
        return bool(found["pid"] == self.process.pid)  # else it is what a killed one left behind

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(90)

    def command(self, *arguments: str, **changes: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-P", "-m", "regionmir.admin", *arguments],
            cwd=self.folder, env={**self.environment, **changes}, capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    def status(self) -> Any:
        done = self.command("status", "--json")
        return json.loads(done.stdout) if done.returncode == 0 else None

    def children(self) -> dict[str, psutil.Process]:
        """Return the direct children by the program they run."""
        assert self.process is not None
        found = {}
        for child in psutil.Process(self.process.pid).children():
            try:
                words = " ".join(child.cmdline())
            except psutil.Error:  # it has just ended
                continue
            found |= {program: child for program in PROGRAMS if program in words and "launch.py" not in words}
        return found

    def everything(self) -> list[psutil.Process]:
        assert self.process is not None
        return psutil.Process(self.process.pid).children(recursive=True)

    def answers(self) -> bool:
        """True if a C-ECHO, a web page and the database all answer; else says in `why` what did not."""
        try:
            peer = PeerAddress(parse_ae_title("REGIONMIR"), "127.0.0.1", self.dicom_port)
            assert echo(peer, "TEST").status.is_success
            page = f"http://127.0.0.1:{self.environment['REGIONMIR_HTTP_PORT']}/healthz"
            with urllib.request.urlopen(page, timeout=5) as response:
                assert response.status == 200
            done = self.command("status", "--json")
            assert done.returncode == 0, done.stderr
        except (AssertionError, RegionMirError, OSError) as error:
            self.why = repr(error)[-2000:]
            return False
        return True


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support.untrained import save_untrained

    return save_untrained(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def make_instance(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Instance]:
    def make() -> Instance:
        folder = tmp_path_factory.mktemp("up")
        ours = {
            "REGIONMIR_DATA_DIR": str(folder / "data"),
            "REGIONMIR_DICOM_PORT": str(free_port()),
            "REGIONMIR_HTTP_PORT": str(free_port()),
            "REGIONMIR_MODEL": str(model),
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("REGIONMIR_")}
        return Instance(folder, inherited | ours)

    return make


@pytest.fixture(scope="module")
def instance(make_instance: Callable[[], Instance]) -> Iterator[Instance]:
    instance = make_instance()
    instance.start()
    yield instance
    if instance.process is not None and instance.process.poll() is None:
        instance.stop()


def test_when_ready_it_says_how_it_is_used(instance: Instance) -> None:
    until(lambda: "Ctrl-C" in instance.log.read_text())
    said = instance.log.read_text()
    assert "RegionMIR is ready." in said
    assert f"AE title REGIONMIR, host 127.0.0.1, port {instance.dicom_port}" in said
    assert f"storescu +sd +r -aec REGIONMIR 127.0.0.1 {instance.dicom_port} FOLDER" in said
    assert str(instance.data) in said
    assert instance.answers(), instance.why


def test_every_process_runs_and_none_listens_where_it_should_not(instance: Instance) -> None:
    children = instance.children()
    assert set(children) == set(PROGRAMS)
    every = [process for child in children.values() for process in (child, *child.children(recursive=True))]
    ports = {port for process in every for port in listening(process)}
    figures = [target.address.rpartition(":") for target in targets(instance.data / "run" / "metrics")]
    assert {host for host, _, _ in figures} == {"127.0.0.1"}
    told = {int(port) for _, _, port in figures}
    assert ports == {instance.dicom_port, int(instance.environment["REGIONMIR_HTTP_PORT"])} | told


def test_other_commands_find_the_running_instance(instance: Instance) -> None:
    assert instance.process is not None
    found = instance.status()
    assert found["supervisor_pid"] == instance.process.pid
    assert set(found["instances"]) == {"received", "indexing", "indexed", "unsupported", "failed"}
    elsewhere = instance.command("status", REGIONMIR_DATA_DIR=str(instance.folder / "other"))
    assert elsewhere.returncode == 2
    assert "start `regionmir up`" in elsewhere.stderr


def test_the_data_folder_and_the_endpoints_are_for_their_owner_only(instance: Instance) -> None:
    assert stat.S_IMODE(instance.data.stat().st_mode) == 0o700
    assert stat.S_IMODE((instance.data / "run" / "endpoints.json").stat().st_mode) == 0o600


def test_a_second_one_on_the_same_folder_is_refused_in_one_line(instance: Instance) -> None:
    assert instance.process is not None
    other = {"REGIONMIR_DICOM_PORT": str(free_port()), "REGIONMIR_HTTP_PORT": str(free_port())}
    done = instance.command("up", **other)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert f"already running on {instance.data} (process {instance.process.pid})" in done.stderr
    assert instance.answers(), instance.why


def test_a_port_in_use_is_refused_before_anything_starts(instance: Instance) -> None:
    elsewhere = instance.folder / "elsewhere"
    done = instance.command("up", REGIONMIR_DATA_DIR=str(elsewhere), REGIONMIR_HTTP_PORT=str(free_port()))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert f"cannot listen on 127.0.0.1:{instance.dicom_port}" in done.stderr
    assert not (elsewhere / "postgres").exists()


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_killed_process_is_started_again_and_the_others_go_on(instance: Instance, program: str) -> None:
    before = instance.children()
    before[program].send_signal(signal.SIGKILL)
    until(lambda: instance.children().get(program, before[program]).pid != before[program].pid)
    until(instance.answers, lambda: instance.why)
    after = instance.children()
    assert set(after) == set(PROGRAMS)
    assert {name for name in PROGRAMS if after[name].pid != before[name].pid} == {program}


def test_it_stops_every_process_and_starts_again_on_the_same_data(instance: Instance) -> None:
    assert instance.process is not None
    with psycopg.connect(json.loads((instance.data / "run" / "endpoints.json").read_text())["database_url"]) as db:
        db.execute("CREATE TABLE kept (x int)")
    everything = instance.everything()
    assert len(everything) >= len(PROGRAMS)
    assert instance.stop() == 0
    assert still_running(everything, 10) == []
    assert not (instance.data / "run" / "endpoints.json").exists()
    assert not (instance.data / "run" / "children.json").exists()
    order = [line.split('"name": "')[1].split('"')[0] for line in _lines(instance, "process stopped")]
    assert order[-6:] == ["web", "node", "light worker", "index worker", "redis", "postgres"]
    instance.start()
    with psycopg.connect(json.loads((instance.data / "run" / "endpoints.json").read_text())["database_url"]) as db:
        db.execute("SELECT x FROM kept")


def test_killed_itself_it_takes_its_processes_along_and_starts_again(instance: Instance) -> None:
    assert instance.process is not None
    everything = instance.everything()
    instance.process.kill()
    instance.process.wait()
    assert instance.command("status").returncode == 2, "what a killed one left behind is believed"
    assert still_running(everything, 60) == []
    instance.start()
    assert instance.answers(), instance.why
    assert instance.stop() == 0


def test_ctrl_c_while_it_starts_leaves_nothing(make_instance: Callable[[], Instance]) -> None:
    instance = make_instance()
    instance.process = instance.launch()
    until(lambda: "postgres" in instance.children())
    everything = instance.everything()
    instance.process.send_signal(signal.SIGINT)
    assert instance.process.wait(60) == 0
    assert still_running(everything, 10) == []


def test_a_database_that_may_lose_commits_is_refused(
    make_instance: Callable[[], Instance], postgres_url: str, redis_url: str
) -> None:
    instance = make_instance()
    careless = f"{postgres_url}&options=-csynchronous_commit%3Doff"
    done = instance.command("up", REGIONMIR_DATABASE_URL=careless, REGIONMIR_REDIS_URL=redis_url)
    assert done.returncode == 2
    assert "= off: an instance that was acknowledged could be lost" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_with_urls_it_starts_neither_database_nor_broker(
    make_instance: Callable[[], Instance], tmp_path: Path, redis_url: str
) -> None:
    server = LocalPostgres(tmp_path / "postgres", tmp_path / "socket")
    server.start()
    try:
        instance = make_instance()
        instance.environment |= {"REGIONMIR_DATABASE_URL": server.url, "REGIONMIR_REDIS_URL": redis_url}
        instance.start()
        assert set(instance.children()) == set(PROGRAMS) - {"postgres", "redis-server"}
        assert instance.answers(), instance.why
        assert instance.stop() == 0
        assert server.is_ready()
        assert not (instance.data / "postgres").exists()
    finally:
        server.stop()


def _lines(instance: Instance, event: str) -> list[str]:
    return [line for line in instance.log.read_text().splitlines() if f'"{event}"' in line]
