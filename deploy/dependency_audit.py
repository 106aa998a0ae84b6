"""Compare the pinned packages with the known vulnerabilities. Used by `make audit`.

    python deploy/dependency_audit.py PIP_AUDIT CONSTRAINTS

Exit code 0 where every package was compared and none has a known vulnerability, 1 where one has, 2 where packages could
not be compared: without a network, or behind a mirror of PyPI that knows packages and no vulnerabilities. These are
listed then, for a comparison elsewhere; silence about them would read like a clean result. Standard library only.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def main(pip_audit: str, constraints: str) -> int:
    """Print what was found and return the exit code."""
    command = [pip_audit, "--requirement", constraints, "--no-deps", "--disable-pip", "--format", "json"]
    done = subprocess.run([*command, "--progress-spinner", "off"], capture_output=True, text=True)
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except json.JSONDecodeError:  # it did not get as far as a report
        why = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        return _not_compared(_pinned(Path(constraints)), why)
    return _found(report)


def _found(report: dict[str, Any]) -> int:
    packages = report["dependencies"]
    skipped = [one for one in packages if "skip_reason" in one]
    vulnerable = [one for one in packages if one.get("vulns")]
    for one in vulnerable:
        for known in one["vulns"]:
            fixed = ", ".join(known.get("fix_versions", [])) or "no version yet"
            print(f"{one['name']} {one['version']}: {known['id']}, fixed in {fixed}")
    print(f"{len(packages) - len(skipped)} packages compared, {len(vulnerable)} with known vulnerabilities")
    missing = _not_compared([one["name"] for one in skipped], skipped[0]["skip_reason"]) if skipped else 0
    return 1 if vulnerable else missing


def _not_compared(packages: Sequence[str], why: str) -> int:
    print(*packages, sep="\n")
    print(f"error: these {len(packages)} packages were NOT compared with known vulnerabilities: {why}", file=sys.stderr)
    return 2


def _pinned(constraints: Path) -> list[str]:
    lines = constraints.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
