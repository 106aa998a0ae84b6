"""Folders for unix sockets: ours alone, and short enough for the kernel."""

import os
import stat
import tempfile
from pathlib import Path

MAX_SOCKET_PATH_BYTES = 107
"""`sun_path` holds 108 bytes with the closing NUL (unix(7))."""


def socket_folder(preferred: Path, longest_name: str) -> Path:
    """Return a folder (made with mode 0700) in which a socket named `longest_name` has a usable path.

    That is `preferred`, or, where its path is too long, a short one below XDG_RUNTIME_DIR or the temporary folder
    whose path is kept in the file `<preferred>.path`, so that the next call returns the same.
    """
    preferred = preferred.absolute()
    if len(os.fsencode(preferred / longest_name)) <= MAX_SOCKET_PATH_BYTES:
        preferred.mkdir(mode=0o700, parents=True, exist_ok=True)
        preferred.chmod(0o700)
        return preferred
    record = _record_of(preferred)
    if record.is_file():
        kept = Path(record.read_text(encoding="utf-8"))
        if _is_ours(kept):
            return kept
    record.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    short = Path(tempfile.mkdtemp(prefix="regionmir-", dir=_short_base()))
    record.write_text(str(short), encoding="utf-8")
    return short


def remove_socket_folder(preferred: Path) -> None:
    """Remove the short folder that `socket_folder` made for `preferred`, if it did and it is empty."""
    record = _record_of(preferred.absolute())
    if not record.is_file():
        return
    short = Path(record.read_text(encoding="utf-8"))
    if _is_ours(short) and not any(short.iterdir()):
        short.rmdir()
        record.unlink()


def _record_of(preferred: Path) -> Path:
    return preferred.with_name(preferred.name + ".path")


def _short_base() -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    return Path(runtime) if runtime and os.access(runtime, os.W_OK) and len(runtime) < 60 else Path("/tmp")  # noqa: S108


def _is_ours(folder: Path) -> bool:
    """True for a real folder (no link) that only its owner may enter, the owner being us or, for root, anyone."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    private = stat.S_ISDIR(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o700
    return private and os.geteuid() in (0, status.st_uid)
