import stat
from pathlib import Path

import pytest

from regionmir.core.errors import ConfigurationError
from regionmir.core.settings import load_settings, origin_of


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("REGIONMIR_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_defaults_listen_on_loopback_as_regionmir() -> None:
    settings = load_settings()
    assert (settings.ae_title, settings.dicom_host, settings.dicom_port) == ("REGIONMIR", "127.0.0.1", 11112)
    assert (settings.http_host, settings.http_port) == ("127.0.0.1", 8080)
    assert origin_of("dicom_port") == "default"


def test_a_variable_wins_over_the_file_and_the_file_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("regionmir.toml").write_text('ae_title = "FROMFILE"\ndicom_port = 104\n')
    monkeypatch.setenv("REGIONMIR_DICOM_PORT", "4242")
    settings = load_settings()
    assert (settings.ae_title, settings.dicom_port) == ("FROMFILE", 4242)
    assert origin_of("ae_title") == "regionmir.toml"
    assert origin_of("dicom_port") == "REGIONMIR_DICOM_PORT"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DICOM_PORT", "99999"),
        ("DICOM_PORT", "eleven"),
        ("AE_TITLE", "MUCH_TOO_LONG_A_TITLE"),
        ("LOG_LEVEL", "loud"),
        ("RESULT_REGIONS", "RL,LUNG"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_setting_and_origin(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"REGIONMIR_{name}", value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    message = str(caught.value)
    assert name.lower() in message
    assert f"REGIONMIR_{name}" in message
    assert "\n" not in message


def test_regions_of_results_are_read_as_people_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGIONMIR_RESULT_REGIONS", " rl, LLLZ ")
    assert [anatomy.short for anatomy in load_settings().searched_regions()] == ["RL", "LLLZ"]
    monkeypatch.delenv("REGIONMIR_RESULT_REGIONS")
    assert load_settings().searched_regions() == ()


def test_an_unknown_setting_in_the_file_is_refused_by_name() -> None:
    Path("regionmir.toml").write_text("dicom_prot = 104\n")
    with pytest.raises(ConfigurationError, match="dicom_prot"):
        load_settings()


def test_a_file_that_is_no_toml_is_refused_with_its_path() -> None:
    Path("regionmir.toml").write_text("dicom_port : 104\n")
    with pytest.raises(ConfigurationError, match=r"regionmir\.toml"):
        load_settings()


def test_the_site_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path / "data")
    first = settings.pseudonymizer()
    assert settings.pseudonymizer() == first
    assert stat.S_IMODE((tmp_path / "data" / "site.key").stat().st_mode) == 0o600
    assert first.site_key.hex() not in repr(first)


@pytest.mark.parametrize("content", ["abcd\n", "not hex at all"])
def test_a_bad_site_key_stops_the_start(tmp_path: Path, content: str) -> None:
    (tmp_path / "site.key").write_text(content)
    with pytest.raises(ConfigurationError, match="site key"):
        load_settings(data_dir=tmp_path).pseudonymizer()
