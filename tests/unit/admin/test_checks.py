from pathlib import Path

import pytest

from regionmir.admin import checks
from regionmir.admin.checks import all_checks
from regionmir.admin.findings import Finding, Level
from regionmir.core.settings import Settings, load_settings


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    return load_settings(data_dir=tmp_path / "data")


def found(settings: Settings, subject: str) -> Finding:
    return next(f for f in all_checks(settings, with_model=False) if f.subject == subject)


def test_doctor_changes_nothing(settings: Settings) -> None:
    list(all_checks(settings, with_model=False))
    assert not settings.data_dir.exists()


def test_every_finding_that_is_not_ok_says_what_to_do(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_LITTLE_DISK", 2**60)
    broken = settings.model_copy(
        update={"database_url": "postgresql://a@/b?host=/nowhere", "redis_url": "redis+socket:///nowhere"}
    )
    findings = list(all_checks(broken, with_model=False))
    assert {f.subject for f in findings if f.level is not Level.OK} >= {"PostgreSQL", "Redis", "disk", "peers"}
    assert all(f.advice for f in findings if f.level is not Level.OK)


def test_all_transfer_syntaxes_can_be_decoded(settings: Settings) -> None:
    assert found(settings, "image decoders").level is Level.OK


def test_a_missing_package_is_named_with_the_extra_to_install(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks.metadata, "requires", lambda name: ['no-such-thing==1.0; extra == "worker"'])
    finding = found(settings, "Python packages")
    assert (finding.level, finding.found) == (Level.FAIL, "missing: no-such-thing")
    assert "pip install 'regionmir[worker]'" in finding.advice


def test_a_package_in_another_version_is_a_warning(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.metadata, "requires", lambda name: ["celery[redis]==0.1"])
    assert found(settings, "Python packages").level is Level.WARN


def test_a_site_key_that_others_can_read_fails(settings: Settings) -> None:
    settings.data_dir.mkdir(mode=0o700)
    key = settings.data_dir / "site.key"
    key.write_text("00")
    key.chmod(0o644)
    assert found(settings, "site key").level is Level.FAIL


def test_a_data_folder_that_others_can_enter_is_a_warning(settings: Settings) -> None:
    settings.data_dir.mkdir()
    settings.data_dir.chmod(0o755)
    finding = found(settings, "data folder")
    assert finding.level is Level.WARN
    assert "chmod 700" in finding.advice


@pytest.mark.parametrize(("free", "level"), [(2**20, Level.FAIL), (5 * 2**30, Level.WARN), (2**40, Level.OK)])
def test_little_room_on_the_disk_is_said(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, free: int, level: Level
) -> None:
    import shutil

    usage = shutil.disk_usage("/")._replace(free=free)
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: usage)
    assert found(settings, "disk").level is level


def test_the_old_redis_of_the_wheel_is_a_warning() -> None:
    assert checks._redis_version((6, 2, 14), "").level is Level.WARN
    assert checks._redis_version((7, 0, 15), "").level is Level.OK
    assert checks._redis_version((8, 1), "").level is Level.OK
