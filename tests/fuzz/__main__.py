"""`python -m tests.fuzz [TARGET ...]`: fuzzes our readers one after the other, guided by coverage; prints a table.

Needs atheris, which `make fuzz` installs beside the environment. What is learnt stays in build/fuzz-corpus; an input
that crashes or hangs is left in build/fuzz-findings, and this fails.
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from tests.hostile import seeds
from tests.hostile.campaign import odd_text, plain_identifier
from tests.hostile.targets import BOUNDARY, TARGETS

CORPUS: Final = Path("build/fuzz-corpus")
FINDINGS: Final = Path("build/fuzz-findings")
HANG_S: Final = 30
MEMORY_MB: Final = 4096


def main() -> int:
    """Return 0 where nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS], help="default: all")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    asked = parser.parse_args()
    table = Table("target", "executions", "coverage", "new inputs", "findings", title="Fuzzing")
    found = 0
    for name in asked.targets or TARGETS:
        row = _fuzzed(name, asked.seconds)
        found += int(row[-1])
        table.add_row(name, *row)
    Console(width=100).print(table)
    return 1 if found else 0


def _fuzzed(name: str, seconds: int) -> tuple[str, str, str, str]:
    """Return executions, covered edges, inputs that reached something new, and how many findings there are."""
    corpus, findings = CORPUS / name, FINDINGS / name
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    for n, content in enumerate(_begin_with(name)):
        (corpus / f"seed-{n:03d}").write_bytes(content)
    before = set(findings.iterdir())
    options = [f"-max_total_time={seconds}", f"-timeout={HANG_S}", f"-rss_limit_mb={MEMORY_MB}", "-max_len=65536"]
    command = [sys.executable, "-m", "tests.fuzz.one", name, *options, f"-artifact_prefix={findings}/"]
    told = subprocess.run([*command, "-print_final_stats=1", str(corpus)], capture_output=True, text=True, check=False)
    (FINDINGS / f"{name}.log").write_text(told.stdout + told.stderr)
    new = set(findings.iterdir()) - before
    if told.returncode and not new:
        raise SystemExit(f"{name} did not run:\n{told.stderr[-3000:]}")
    return (
        _last(r"number_of_executed_units: (\d+)", told.stderr),
        _last(r"cov: (\d+)", told.stderr),
        _last(r"new_units_added: +(\d+)", told.stderr),
        str(len(new)),
    )


def _begin_with(name: str) -> list[bytes]:
    if name == "token":
        return [b"SIM 4711 LLLZ k=5", b"RGNSIM^4711^LLLZ", b"SIM AB12CD34 LLLZ #001 0.97", b"1.2.840.10008"]
    if name == "identifier":
        return [plain_identifier(n) for n in range(2)]
    if name == "http":
        edge = f"--{BOUNDARY}".encode()
        part = edge + b"\r\nContent-Type: application/dicom\r\n\r\n" + seeds.made()[0] + b"\r\n" + edge + b"--\r\n"
        return [part, *(odd_text(n).encode("utf-8", "surrogatepass") for n in range(50))]
    return [*(seeds.annotations() if name == "annotation" else seeds.made())]


def _last(pattern: str, text: str) -> str:
    found = re.findall(pattern, text)
    return found[-1] if found else "0"


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
