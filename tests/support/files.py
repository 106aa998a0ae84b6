"""File layers that watch or fail what a store does."""

import os
from pathlib import Path

from regionmir.storage import OsFiles


class RecordingFiles(OsFiles):
    """Does everything, and writes down (operation, name of the file or folder) in order."""

    def __init__(self, calls: list[tuple[str, str]] | None = None) -> None:
        self.calls: list[tuple[str, str]] = [] if calls is None else calls

    def create(self, path: Path) -> int:
        self.calls.append(("create", path.name))
        return super().create(path)

    def write(self, descriptor: int, data: bytes | memoryview) -> None:
        self.calls.append(("write", ""))
        super().write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        self.calls.append(("sync", ""))
        super().sync(descriptor)

    def close(self, descriptor: int) -> None:
        self.calls.append(("close", ""))
        super().close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        self.calls.append(("rename", target.name))
        super().rename(source, target)

    def sync_folder(self, path: Path) -> None:
        self.calls.append(("sync_folder", path.name))
        super().sync_folder(path)


class FailingFiles(OsFiles):
    """Fails one kind of operation with one error until it is healed."""

    def __init__(self) -> None:
        self._failing: tuple[str, int] | None = None

    def fail(self, operation: str, number: int) -> None:
        self._failing = (operation, number)

    def heal(self) -> None:
        self._failing = None

    def create(self, path: Path) -> int:
        self._check("create")
        return super().create(path)

    def write(self, descriptor: int, data: bytes | memoryview) -> None:
        self._check("write")
        super().write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        self._check("sync")
        super().sync(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        self._check("rename")
        super().rename(source, target)

    def make_folder(self, path: Path) -> bool:
        self._check("make_folder")
        return super().make_folder(path)

    def sync_folder(self, path: Path) -> None:
        self._check("sync_folder")
        super().sync_folder(path)

    def _check(self, operation: str) -> None:
        if self._failing is not None and self._failing[0] == operation:
            raise OSError(self._failing[1], os.strerror(self._failing[1]))
