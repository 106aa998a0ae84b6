"""`python -m regionmir.web` as a process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from regionmir.queue import CeleryQueue
from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[3]


def start(folder: Path, script: str = "", **settings: str) -> subprocess.Popen[str]:
    environment = {"REGIONMIR_DATA_DIR": str(folder), **{f"REGIONMIR_{k.upper()}": v for k, v in settings.items()}}
    return subprocess.Popen(
        [sys.executable, *(["-c", script] if script else ["-m", "regionmir.web"])],
        cwd=ROOT,
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_stop(tmp_path: Path, number: signal.Signals, redis_url: str) -> None:
    port = free_port()
    process = start(
        tmp_path, http_port=str(port), database_url=f"postgresql:///none?host={tmp_path}", redis_url=redis_url
    )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                response = httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=30)
                break
            except httpx.ConnectError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
        assert response.status_code == 200
        assert "server" not in response.headers
        told = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text
        queue = CeleryQueue(redis_url)
        waiting = queue.depth()  # other tests share this Redis
        queue.close()
        assert f"regionmir_queue_depth {float(waiting)}\n" in told
        process.send_signal(number)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()


STOPPED_BEFORE_IT_SERVES = """
import os, signal, sys
from regionmir.web import __main__ as web

class StopNow:
    def start(self): os.kill(os.getpid(), signal.SIGTERM)
    def stop(self): pass

web.copy_dropper = lambda *_: StopNow()
sys.exit(web.main())
"""


def test_it_stops_where_it_is_told_so_before_it_serves(tmp_path: Path, redis_url: str) -> None:
    process = start(
        tmp_path,
        STOPPED_BEFORE_IT_SERVES,
        http_port=str(free_port()),
        database_url=f"postgresql:///none?host={tmp_path}",
        redis_url=redis_url,
    )
    try:
        assert process.wait(120) == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"http_host": "0.0.0.0", "database_url": "postgresql:///x"}, "REGIONMIR_SIGNIN"),
        (
            {"http_host": "0.0.0.0", "signin": "local", "database_url": "postgresql:///x"},
            "REGIONMIR_HTTP_TLS_CERTIFICATE",
        ),
        (
            {"http_host": "0.0.0.0", "signin": "local", "http_without_tls": "1", "database_url": "postgresql:///x"},
            "REGIONMIR_HTTP_NAMES",
        ),
        ({}, "REGIONMIR_DATABASE_URL"),
        ({"http_port": "99999", "database_url": "postgresql:///x"}, "http_port"),
    ],
)
def test_what_it_cannot_start_with_is_one_line(tmp_path: Path, settings: dict[str, str], said: str) -> None:
    process = start(tmp_path, **settings)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert said in errors
    assert len(errors.strip().splitlines()) == 1


def test_a_database_that_could_lose_a_commit_is_refused(tmp_path: Path, database_factory: Callable[[], str]) -> None:
    process = start(tmp_path, database_url=database_factory(), redis_url=f"redis+socket://{tmp_path}/nowhere.sock")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "regionmir web: PostgreSQL runs with fsync = off" in errors
