"""The five top-level packages are ours alone, and everything they read at run time is in the wheel."""

import os
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("regionmir", "dicom_node", "workers", "db", "models")


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_distribution_owns(package: str) -> None:
    assert set(packages_distributions().get(package, ["regionmir"])) == {"regionmir"}


def test_the_wheel_holds_code_migrations_templates_tables_and_weights(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)],
        check=True,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )
    (wheel,) = tmp_path.glob("regionmir-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == set(PACKAGES)
    for end in (
        ".safetensors",
        ".html",
        "/anatomies.csv",
        "surplus_anatomies.csv",
        "films.csv",
        "0001_tables.py",
        ".toml",
        ".css",
    ):
        assert [name for name in names if name.endswith(end)], end


def test_the_node_and_the_web_start_without_torch() -> None:
    check = (
        "import sys; sys.modules['torch'] = None\n"
        "import dicom_node.__main__, regionmir.web.__main__, regionmir.admin.main"
    )
    subprocess.run([sys.executable, "-c", check], check=True, cwd=ROOT)
