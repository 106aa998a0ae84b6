"""`python -m tests.fuzz [TARGET ...]`: fuzzes our readers one after the other, guided by coverage; prints a table.

Needs atheris, which `make fuzz` installs beside the environment. What is learnt stays in build/fuzz-corpus; an input
that crashes or hangs is left in build/fuzz-findings, and this fails.
"""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from rich.console import Console
from rich.table import Table

from tests.fuzz.live import FOLDER, SERVER
from tests.hostile import seeds, wire
from tests.hostile.campaign import data_set_of, odd_text, plain_identifier
from tests.hostile.targets import BOUNDARY, TARGETS
from tests.support.postgres import throw_away_server

CORPUS: Final = Path("build/fuzz-corpus")
FINDINGS: Final = Path("build/fuzz-findings")
HANG_S: Final = 30
NAMES: Final = (*TARGETS, "pdus")
MEMORY_MB: Final = 4096


def main() -> int:
    """Return 0 where nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[[], *NAMES], help="default: all")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    asked = parser.parse_args()
    table = Table("target", "executions", "coverage", "new inputs", "findings", title="Fuzzing")
    found = 0
    for name in asked.targets or NAMES:
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
    options = [
        "-print_final_stats=1",
        f"-max_total_time={seconds}",
        f"-timeout={HANG_S}",
        f"-rss_limit_mb={MEMORY_MB}",
        "-max_len=65536",
    ]
    command = [sys.executable, "-m", "tests.fuzz.one", name, *options, f"-artifact_prefix={findings}/", str(corpus)]
    with _surroundings(name) as more:
        told = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **more})
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


@contextmanager
def _surroundings(name: str) -> Iterator[dict[str, str]]:
    """Yield variables for the fuzzer; a live node finds a database server and a folder there."""
    with TemporaryDirectory(prefix="fuzz") as folder, ExitStack() as stack:
        if name != "pdus":
            yield {}
            return
        server = stack.enter_context(throw_away_server(Path(folder) / "postgres"))
        yield {SERVER: server.url, FOLDER: folder}


def _begin_with(name: str) -> list[bytes]:
    if name == "token":
        return [b"SIM 4711 LLLZ k=5", b"RGNSIM^4711^LLLZ", b"SIM AB12CD34 LLLZ #001 0.97", b"1.2.840.10008"]
    if name == "pdus":
        film = wire.store_request(*data_set_of(seeds.made()[0]))
        return [b"".join(one) for one in (wire.echo_request(), wire.find_request(plain_identifier(1)), film)]
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
