import json
import sys
from pathlib import Path

import pytest

from regionmir.admin.main import main
from regionmir.admin.settings_commands import without_password


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["regionmir", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGIONMIR_DATA_DIR", str(tmp_path / "data"))


def test_each_value_is_printed_with_its_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "regionmir.toml").write_text('ae_title = "FILED"\nhttp_port = 8081\n')
    monkeypatch.setenv("REGIONMIR_HTTP_PORT", "8082")
    assert run(monkeypatch, "settings", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["ae_title"]["value"], shown["ae_title"]["origin"]) == ("FILED", "regionmir.toml")
    assert (shown["http_port"]["value"], shown["http_port"]["origin"]) == (8082, "REGIONMIR_HTTP_PORT")
    assert (shown["dicom_port"]["value"], shown["dicom_port"]["origin"]) == (11112, "default")


def test_the_table_holds_every_setting(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from regionmir.core.settings import Settings

    assert run(monkeypatch, "settings") == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in Settings.model_fields)


def test_passwords_are_not_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("REGIONMIR_DATABASE_URL", "postgresql://me:s3cret@db/x?password=s3cret&sslmode=require")
    monkeypatch.setenv("REGIONMIR_REDIS_URL", "redis://:s3cret@cache:6379/0")
    run(monkeypatch, "settings", "--json")
    run(monkeypatch, "settings")
    shown = capsys.readouterr().out
    assert "s3cret" not in shown
    assert "postgresql://me:***@db/x?password=***&sslmode=require" in shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:a:b@db/x", "postgresql://me:***@db/x"),
        ("postgresql://me:p/q@db/x", "postgresql://me:***@db/x"),
        ("postgresql://me:p%40q@db:5432/x", "postgresql://me:***@db:5432/x"),
        ("postgresql://me@db:5432/x", "postgresql://me@db:5432/x"),
        ("redis://cache:6379/0", "redis://cache:6379/0"),
        ("redis+socket:///run/redis.sock", "redis+socket:///run/redis.sock"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert without_password(url) == shown


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("REGIONMIR_DICOM_PORT", "foo", "dicom_port (REGIONMIR_DICOM_PORT)"),
        ("REGIONMIR_DICOM_PORT", "70000", "dicom_port (REGIONMIR_DICOM_PORT)"),
        ("REGIONMIR_AE_TITLE", "A_TITLE_THAT_IS_TOO_LONG", "ae_title (REGIONMIR_AE_TITLE)"),
        ("REGIONMIR_LOG_LEVEL", "loud", "log_level (REGIONMIR_LOG_LEVEL)"),
    ],
)
@pytest.mark.parametrize("command", ["settings", "up", "status", "doctor"])
def test_a_wrong_value_stops_every_command_with_one_line(
    command: str,
    variable: str,
    value: str,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(variable, value)
    assert run(monkeypatch, command) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert printed.err.startswith(f"regionmir: {expected}")


def test_an_unknown_setting_in_the_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "regionmir.toml").write_text("dicom_prot = 1\n")
    assert run(monkeypatch, "settings") == 2
    assert "unknown setting 'dicom_prot'" in capsys.readouterr().err


def test_a_file_that_does_not_parse_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "regionmir.toml").write_text("dicom_port = \n")
    assert run(monkeypatch, "settings") == 2
    assert capsys.readouterr().err.startswith("regionmir: regionmir.toml: ")


def test_without_a_database_the_message_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["status"], ["instances", "list"], ["peers", "list"], ["reindex", "--all"], ["db", "current"]):
        assert run(monkeypatch, *command) == 2
        assert capsys.readouterr().err == (
            "regionmir: no database: start `regionmir up`, or set REGIONMIR_DATABASE_URL\n"
        )


def test_the_version_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from regionmir import __version__

    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"regionmir {__version__}\n"
