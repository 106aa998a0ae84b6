"""`python -m dicom_node`: starts on its own, serves without a broker, stops when told."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.support.dicom import CR, associate, begin_store, encoded, radiograph, send_fragment, store
from tests.support.ports import free_port


@contextmanager
def node_process(folder: Path, **settings: str) -> Iterator[subprocess.Popen[str]]:
    """Start the node's process with these settings; kill it if it is still there at the end."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("REGIONMIR_")},
        "REGIONMIR_DATA_DIR": str(folder / "data"),
        "REGIONMIR_LOG_JSON": "true",
        **{f"REGIONMIR_{name.upper()}": value for name, value in settings.items()},
    }
    command = [sys.executable, "-m", "dicom_node"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, cwd=folder)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def line_with(process: subprocess.Popen[str], event: str) -> dict[str, object]:
    """Return the next line of the log that tells of this event."""
    assert process.stderr is not None
    for line in process.stderr:
        if event in line:
            return dict(json.loads(line))
    pytest.fail(f"the node ended without {event!r}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_serves_without_a_broker_and_stops_cleanly(
    tmp_path: Path, durable_database: str, number: signal.Signals
) -> None:
    port = free_port()
    broker = f"redis+socket://{tmp_path}/nowhere.sock"
    with node_process(
        tmp_path, database_url=durable_database, redis_url=broker, dicom_port=str(port), ae_title="OURS"
    ) as process:
        line = line_with(process, "listening")
        assert (line["ae_title"], line["port"]) == ("OURS", port)
        assoc = associate(port, called="OURS")
        assert store(assoc, radiograph()).status == 0x0000
        assoc.release()
        process.send_signal(number)
        assert process.wait(60) == 0
        log = process.stderr.read() if process.stderr else ""
        assert "Traceback" not in log
        assert "Test^Patient" not in log


def test_a_taken_port_is_one_clear_line(tmp_path: Path, durable_database: str, running) -> None:
    with node_process(
        tmp_path,
        database_url=durable_database,
        redis_url=f"redis+socket://{tmp_path}/nowhere.sock",
        dicom_port=str(running.port),
    ) as process:
        _, log = process.communicate(timeout=60)
        assert process.returncode == 1
        assert log.strip().splitlines()[-1] == (
            f"regionmir node: cannot listen on 127.0.0.1:{running.port}: Address already in use"
        )


def test_it_can_be_stopped_while_it_waits_for_the_database(tmp_path: Path) -> None:
    with node_process(
        tmp_path,
        database_url=f"postgresql:///none?host={tmp_path}",
        redis_url=f"redis+socket://{tmp_path}/nowhere.sock",
        dicom_port=str(free_port()),
    ) as process:
        line_with(process, "waiting for the database")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_a_database_that_could_lose_a_commit_is_refused(tmp_path: Path, database_factory: Callable[[], str]) -> None:
    hurried = database_factory()  # as tests have it: it does not wait for the disk
    with node_process(
        tmp_path,
        database_url=hurried,
        redis_url=f"redis+socket://{tmp_path}/nowhere.sock",
        dicom_port=str(free_port()),
    ) as process:
        _, log = process.communicate(timeout=60)
    assert process.returncode == 1
    assert log.strip().splitlines()[-1].startswith("regionmir node: PostgreSQL runs with fsync = off")


def wait_until(condition: Callable[[], bool], deadline_s: float = 60.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def test_several_processes_are_one_node_and_those_that_end_are_replaced(tmp_path: Path, durable_database: str) -> None:
    port = free_port()
    with node_process(
        tmp_path,
        database_url=durable_database,
        redis_url=f"redis+socket://{tmp_path}/nowhere.sock",
        dicom_port=str(port),
        dicom_processes="2",
        max_associations="3",
    ) as process:
        assert line_with(process, "listening")["processes"] == 2
        node = psutil.Process(process.pid)
        acceptors = node.children()
        assert len(acceptors) == 2
        assert len(list((tmp_path / "data" / "run" / "metrics").glob("node@*.json"))) == 2
        held = [associate(port) for _ in range(3)]
        assert all(one.is_established for one in held)
        refused = associate(port)
        assert refused.is_rejected
        assert refused.acceptor.primitive.diagnostic == 2  # local limit exceeded
        assert all(store(one, radiograph()).status == 0x0000 for one in held)
        for one in held:
            one.release()

        unfinished = associate(port)
        begin_store(unfinished, True, CR, "1.2.3")
        send_fragment(unfinished, encoded(radiograph())[:500], last=False)
        incoming = tmp_path / "data" / "incoming"
        wait_until(lambda: len(list(incoming.iterdir())) == 1)
        acceptors[0].terminate()  # ends in order: the other one still listens at the same socket
        acceptors[1].kill()
        line_with(process, "acceptor ended")
        wait_until(lambda: not set(node.children()) & set(acceptors) and len(node.children()) == 2)
        wait_until(lambda: not list(incoming.iterdir()))
        for _ in range(3):
            again = associate(port)
            assert store(again, radiograph()).status == 0x0000
            again.release()

        replaced = node.children()
        process.kill()
        process.wait(30)
        assert psutil.wait_procs(replaced, 30)[1] == []  # all die with their parent, which the port is then free of
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_several_processes_of_which_one_cannot_start_are_none(tmp_path: Path, durable_database: str) -> None:
    port = free_port()
    with node_process(
        tmp_path,
        database_url=durable_database,
        redis_url=f"redis+socket://{tmp_path}/nowhere.sock",
        dicom_tls_port=str(port),
        dicom_tls_only="true",
        dicom_processes="2",
    ) as process:
        _, log = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in log
    assert log.strip().splitlines()[-1].startswith("regionmir node: a process of the node ended while it started")
