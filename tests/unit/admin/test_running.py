import dataclasses
import stat
from pathlib import Path

import pytest

from regionmir.admin import running
from regionmir.admin.running import Endpoints, endpoints_of, only_one, publish, running_settings, withdraw
from regionmir.core.errors import ConfigurationError
from regionmir.core.settings import Settings, load_settings

ENDPOINTS = Endpoints("postgresql://a@/a?host=/s", "redis+socket:///r", "127.0.0.1", 4242, "OTHER", "127.0.0.1", 81, 7)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGIONMIR_DATA_DIR", str(tmp_path))
    (tmp_path / "run").mkdir()
    return load_settings()


def test_a_command_finds_the_running_instance(settings: Settings) -> None:
    with only_one(settings):
        publish(settings, ENDPOINTS)
        found = running_settings(settings)
    assert (found.database_url, found.redis_url) == (ENDPOINTS.database_url, ENDPOINTS.redis_url)
    assert (found.dicom_port, found.http_port, found.ae_title) == (4242, 81, "OTHER")
    assert found.data_dir == settings.data_dir


def test_what_was_set_by_hand_is_kept(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGIONMIR_DICOM_PORT", "999")
    with only_one(settings):
        publish(settings, ENDPOINTS)
        found = running_settings(load_settings())
    assert found.dicom_port == 999
    assert found.database_url == ENDPOINTS.database_url


def test_what_a_killed_instance_left_behind_is_not_believed(settings: Settings) -> None:
    with only_one(settings):
        publish(settings, ENDPOINTS)
    assert endpoints_of(settings) is None
    assert running_settings(settings) == settings


def test_nothing_runs_on_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path / "none")
    assert not running.is_running(settings)
    assert running_settings(settings) == settings
    assert not settings.data_dir.exists()


def test_the_endpoints_are_secret_and_go_when_withdrawn(settings: Settings) -> None:
    with only_one(settings):
        publish(settings, ENDPOINTS)
        publish(settings, dataclasses.replace(ENDPOINTS, pid=8))
        path = settings.run_dir / "endpoints.json"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        withdraw(settings)
        assert not path.exists()
        assert endpoints_of(settings) is None


def test_the_second_on_one_data_folder_is_refused_and_told_who_is_first(settings: Settings) -> None:
    import os

    with (
        only_one(settings),
        pytest.raises(ConfigurationError, match=f"already running on .* \\(process {os.getpid()}\\)"),
        only_one(settings),
    ):
        pass
    with only_one(settings):
        pass
