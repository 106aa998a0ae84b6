"""What `make audit` says about packages that were not compared: never that they are clean."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "dependency_audit.py"
CLEAN = {"name": "clean", "version": "1", "vulns": []}
VULNERABLE = {"name": "holed", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
SKIPPED = {"name": "unknown", "skip_reason": "not found on PyPI"}


def audited(folder: Path, answer: str) -> "subprocess.CompletedProcess[str]":
    """Run the script with a pip-audit that prints `answer` and complains of the network."""
    (folder / "constraints.txt").write_text("# pinned\nclean==1\nholed==2\n")
    pip_audit = folder / "pip-audit"
    pip_audit.write_text(f"#!{sys.executable}\nimport sys\nprint({answer!r})\nprint('no network', file=sys.stderr)\n")
    pip_audit.chmod(0o700)
    command = [sys.executable, SCRIPT, pip_audit, folder / "constraints.txt"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("packages", "code"),
    [([CLEAN], 0), ([CLEAN, VULNERABLE], 1), ([CLEAN, SKIPPED], 2), ([SKIPPED, VULNERABLE], 1)],
)
def test_only_a_comparison_of_all_packages_without_a_find_passes(
    tmp_path: Path, packages: list[dict[str, object]], code: int
) -> None:
    done = audited(tmp_path, json.dumps({"dependencies": packages}))
    assert done.returncode == code
    assert ("holed 2: CVE-1, fixed in 3" in done.stdout) == (VULNERABLE in packages)
    assert ("1 packages were NOT compared" in done.stderr) == (SKIPPED in packages)
    compared = len(packages) - packages.count(SKIPPED)
    assert f"{compared} packages compared" in done.stdout


def test_without_a_network_the_packages_are_listed_and_it_fails(tmp_path: Path) -> None:
    done = audited(tmp_path, "")
    assert done.returncode == 2
    assert done.stdout.split() == ["clean==1", "holed==2"]
    assert "error: these 2 packages were NOT compared with known vulnerabilities: no network" in done.stderr
