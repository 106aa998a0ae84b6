"""Compare the pinned packages with the known vulnerabilities; without a network, list them. Used by `make audit`.

    python deploy/dependency_audit.py PIP_AUDIT CONSTRAINTS

Exit code 1 where a pinned package has a known vulnerability, 0 else. Without a network nothing can be compared: that is
said, and the list is printed for a comparison elsewhere. Standard library only.
"""

import json
import subprocess
import sys
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
        return _offline(Path(constraints), why)
    return _found(report)


def _found(report: dict[str, Any]) -> int:
    packages = report["dependencies"]
    vulnerable = [one for one in packages if one.get("vulns")]
    for one in vulnerable:
        for known in one["vulns"]:
            fixed = ", ".join(known.get("fix_versions", [])) or "no version yet"
            print(f"{one['name']} {one['version']}: {known['id']}, fixed in {fixed}")
    for one in packages:
        if "skip_reason" in one:
            print(f"{one['name']}: not compared: {one['skip_reason']}")
    print(f"{len(packages)} packages compared, {len(vulnerable)} with known vulnerabilities")
    return 1 if vulnerable else 0


def _offline(constraints: Path, why: str) -> int:
    pinned = [
        line for line in constraints.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")
    ]
    print(*pinned, sep="\n")
    print(f"{len(pinned)} packages listed and NOT compared with known vulnerabilities: {why}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
