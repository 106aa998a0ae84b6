import stat
from pathlib import Path

import pytest

from regionmir.admin import up
from regionmir.admin.up import environment, local_servers, prepare_data_folder, require_packages
from regionmir.core.errors import ConfigurationError
from regionmir.core.settings import load_settings


def test_a_child_process_has_exactly_our_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGIONMIR_HTTP_PORT", "8181")
    ours = load_settings(data_dir=tmp_path, database_url="postgresql://a@/b", log_json=False, lease_s=7.5)
    given = environment(ours)
    for name in [n for n in given if n.startswith("REGIONMIR_")]:
        monkeypatch.setenv(name, given[name])
    theirs = load_settings()
    assert theirs == ours
    assert theirs.http_port == 8181


def test_where_urls_are_given_no_server_is_ours(tmp_path: Path) -> None:
    both = load_settings(data_dir=tmp_path, database_url="postgresql://a@/b", redis_url="redis://c")
    assert local_servers(both).programs() == []
    names = [program.name for program in local_servers(load_settings(data_dir=tmp_path)).programs()]
    assert names == ["postgres", "redis"]


def test_the_data_folder_is_closed_to_others(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path / "data")
    settings.data_dir.mkdir()
    settings.data_dir.chmod(0o755)
    prepare_data_folder(settings)
    assert stat.S_IMODE(settings.data_dir.stat().st_mode) == 0o700


def test_a_data_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="set REGIONMIR_DATA_DIR"):
        prepare_data_folder(load_settings(data_dir=tmp_path / "file" / "data"))


def test_a_missing_package_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    require_packages()
    monkeypatch.setattr(up, "_NEEDED", ("uvicorn", "no_such_package"))
    with pytest.raises(ConfigurationError, match=r"not installed: no_such_package; run `pip install 'regionmir\[node"):
        require_packages()
