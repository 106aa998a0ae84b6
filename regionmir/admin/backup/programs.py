"""PostgreSQL's own programs for dumping and loading a database."""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from regionmir.admin.backup.contents import BackupError
from regionmir.admin.launching import tied_to_us
from regionmir.admin.postgres_binaries import find_binaries
from regionmir.core.errors import ConfigurationError

_DUMP = ("--format=custom", "--no-password", "--lock-wait-timeout=60s")
_LOAD = (
    "--single-transaction",  # all of it or nothing: an interrupted one leaves the database empty
    "--exit-on-error",
    "--no-owner",
    "--no-privileges",
    "--no-comments",  # the one of an extension needs its owner
    "--no-password",
)


def dump(environment: Mapping[str, str], snapshot: str, out: Path) -> None:
    """Write what the database held at `snapshot` to the new file `out` (mode 0600). Raises `BackupError`."""
    out.touch(mode=0o600, exist_ok=False)
    _run("pg_dump", environment, [*_DUMP, f"--snapshot={snapshot}", f"--file={out}"])
    with out.open("rb") as file:
        os.fsync(file.fileno())


def load(environment: Mapping[str, str], dumped: Path) -> None:
    """Load a dump into an empty database in one transaction; the role of the connection then owns all of it.

    Raises `BackupError`; the database is empty then.
    """
    database = environment.get("PGDATABASE", "")
    _run("pg_restore", environment, [*_LOAD, f"--dbname={database}", str(dumped)])


def require_readable(dumped: Path) -> None:
    """Return if the table of contents of a dump can be read. Raises `BackupError`."""
    _run("pg_restore", {}, ["--list", str(dumped)])


def _run(program: str, environment: Mapping[str, str], arguments: Sequence[str]) -> None:
    command = tied_to_us([str(_find(program)), *arguments], signal_at_death=signal.SIGKILL)
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    done = subprocess.run(
        command,
        env={**ours, **environment, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    if done.returncode != 0:
        raise BackupError(f"{program} failed: {_reason(done.stderr)}")


def _reason(said: bytes) -> str:
    """Return the first error that a program reported, without the row that it may quote."""
    lines = [line.strip() for line in said.decode("utf-8", "replace").splitlines() if "error:" in line]
    return lines[0][:300] if lines else "it did not say why"


def _find(program: str) -> Path:
    try:
        return find_binaries() / program
    except ConfigurationError:
        found = shutil.which(program)
        if found is None:
            raise ConfigurationError(
                f"{program} is not installed: run `pip install 'regionmir[node]'`, or install PostgreSQL's client"
            ) from None
        return Path(found)
