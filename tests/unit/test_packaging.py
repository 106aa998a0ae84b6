"""The five top-level packages are ours alone, and everything they read at run time is in the wheel."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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


@pytest.mark.parametrize(
    ("image", "starts"),
    [
        ("node", "dicom_node.__main__, regionmir.admin.main"),
        ("worker", "workers.__main__, models.registry"),
        ("web", "regionmir.web.__main__"),
    ],
)
def test_what_an_image_starts_needs_no_package_that_the_image_has_not(image: str, starts: str) -> None:
    dockerfile = (ROOT / "deploy" / "container" / f"{image}.Dockerfile").read_text(encoding="utf-8")
    extras = re.search(r"'\.\[([a-z0-9,]+)\]'", dockerfile)
    assert extras is not None
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    of_extras = [project["optional-dependencies"][extra] for extra in extras[1].split(",")]
    has = installed_with([*project["dependencies"], *chain(*of_extras)])
    absent = [name for name, of in packages_distributions().items() if not has & set(map(canonicalize_name, of))]
    assert {"pytest", "ruff"} <= set(absent)
    check = (
        "import sys\n"
        f"absent = frozenset({absent!r})\n"
        "class Absent:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.partition('.')[0] in absent:\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        f"import {starts}"
    )
    subprocess.run([sys.executable, "-c", check], check=True, cwd=ROOT)


def installed_with(requirements: list[str]) -> set[str]:
    """Return the names of all distributions that pip installs for these requirements."""
    waiting, found = list(map(Requirement, requirements)), {("regionmir", "")}
    while waiting:
        wanted = waiting.pop()
        for extra in ("", *wanted.extras):
            with_extra = (canonicalize_name(wanted.name), extra)
            if with_extra not in found:
                found.add(with_extra)
                needed = needed_by(wanted.name)
                waiting += [one for one in needed if one.marker is None or one.marker.evaluate({"extra": extra})]
    return {name for name, _ in found}


def needed_by(name: str) -> list[Requirement]:
    try:
        return list(map(Requirement, requires(name) or ()))
    except PackageNotFoundError:  # only the image has it
        return []
