"""Files of uploaded films: written by the web process, read and deleted by an index worker, never kept."""

import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from regionmir.storage.files import storage_errors

_CODE = re.compile(r"[0-9a-f]{32}")


class Uploads:
    """A folder (mode 0700) with one file (0600) for each film that waits. Nothing here outlives `sweep`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, key: str) -> Path:
        """Return where the film with this code is. Raises `ValueError` for anything that is no code."""
        if not _CODE.fullmatch(key):
            raise ValueError("not the code of an upload")
        return self._folder / key

    @contextmanager
    def new(self) -> Iterator[tuple[str, BinaryIO]]:
        """Yield a new code and its file to write to; it is deleted where the block raises.

        Raises `StorageFull`, `StorageUnavailable`.
        """
        code = secrets.token_hex(16)
        with storage_errors():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.path(code), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w+b") as file:
                yield code, file
        except BaseException:
            self.remove(code)
            raise

    def remove(self, code: str) -> None:
        """Delete a film; one that is gone is no error."""
        self.path(code).unlink(missing_ok=True)

    def sweep(self, older_than_s: float) -> int:
        """Delete what is older than so many seconds, and return how many files."""
        before = time.time() - older_than_s
        swept = 0
        for path in self._folder.glob("*"):
            with suppress(FileNotFoundError):  # a worker was first
                if path.stat().st_mtime < before:
                    path.unlink()
                    swept += 1
        return swept
