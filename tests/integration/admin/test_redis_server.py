import stat
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from regionmir.admin import redis_server
from regionmir.admin.redis_server import LocalRedis, find_server, server_version
from regionmir.core.errors import ConfigurationError
from regionmir.queue import redis_client


@pytest.fixture(params=["from PATH or the wheel", "the wheel's"])
def program(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the program that `LocalRedis` will run."""
    find_server.cache_clear()
    if request.param == "the wheel's":
        monkeypatch.setattr(redis_server.shutil, "which", lambda name: None)
    yield find_server()
    find_server.cache_clear()


def test_it_answers_on_a_private_socket_and_nowhere_else(program: Path, tmp_path: Path) -> None:
    server = LocalRedis(tmp_path / "redis")
    server.start()
    try:
        with redis_client(server.url) as client:
            assert client.ping()
            assert client.config_get("appendonly") == {"appendonly": "no"}
            assert client.config_get("save") == {"save": ""}
        assert server._process is not None
        assert not psutil.Process(server._process.pid).net_connections("inet")
        assert stat.S_IMODE(server.socket.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(server.socket.stat().st_mode) == 0o700
    finally:
        server.stop()
    assert not server.socket.exists()


def test_its_version_is_read(program: Path) -> None:
    assert server_version(program) >= (6, 2)


def test_without_any_server_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_server.shutil, "which", lambda name: None)
    monkeypatch.setattr(redis_server, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'regionmir\[node\]'"):
        find_server.__wrapped__()


def test_it_starts_where_a_killed_one_left_its_socket(program: Path, tmp_path: Path) -> None:
    server = LocalRedis(tmp_path / "redis")
    server.start()
    assert server._process is not None
    server._process.kill()
    server._process.communicate()
    assert server.socket.exists()
    server.start()
    server.stop()
