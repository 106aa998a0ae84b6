"""The few file operations that durability rests on, behind one protocol so that a test can watch or fail them."""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from regionmir.core.errors import StorageFull, StorageUnavailable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Files(Protocol):
    """What a store does to the file system. Every operation may raise `OSError`."""

    def create(self, path: Path) -> int:
        """Return a descriptor of the new file `path` (mode 0600), locked while it is open."""

    def open(self, path: Path) -> int:
        """Return a descriptor of the regular file `path` for reading; a symbolic link is refused."""

    def write(self, descriptor: int, data: bytes | memoryview) -> None:
        """Write all of `data`."""

    def sync(self, descriptor: int) -> None:
        """Return when the file's content is on the disk."""

    def close(self, descriptor: int) -> None: ...

    def rename(self, source: Path, target: Path) -> None:
        """Move within one file system, replacing `target` at once."""

    def make_folder(self, path: Path) -> bool:
        """Make a folder (mode 0700) and return True, or return False where it exists."""

    def sync_folder(self, path: Path) -> None:
        """Return when the entries of a folder are on the disk."""

    def remove(self, path: Path) -> None:
        """Delete a file; one that is gone is no error."""


class OsFiles:
    """The operating system's files."""

    def create(self, path: Path) -> int:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # tells a sweep that this file is in use
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def open(self, path: Path) -> int:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file")
        return descriptor

    def write(self, descriptor: int, data: bytes | memoryview) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    def sync(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        os.rename(source, target)  # noqa: PTH104

    def make_folder(self, path: Path) -> bool:
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            return False
        return True

    def sync_folder(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn an `OSError` inside into `StorageFull` (no space, quota, largest file) or `StorageUnavailable`."""
    try:
        yield
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "unknown")
        if error.errno in _FULL:
            raise StorageFull(f"no space for objects ({name})") from error
        raise StorageUnavailable(f"the object store failed ({name})") from error


def is_locked(path: Path) -> bool:
    """Return whether some process holds the lock that `Files.create` takes; a file that is gone is not locked."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
