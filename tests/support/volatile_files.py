"""A file layer under which everything that was not synced is gone after a power cut, as POSIX allows.

Content is durable as of the last sync of the file; a name (new, moved or deleted) once its folder was synced. Real file
systems often keep more; none has to.
"""

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

from regionmir.storage import OsFiles


@dataclass(eq=False)
class _Inode:
    """A file, or a folder (`content` None)."""

    content: bytes | None = b""


@dataclass
class VolatileFiles(OsFiles):
    """Does everything for real below `root`, and knows what of it a power cut would leave."""

    root: Path
    _live: dict[Path, _Inode] = field(default_factory=dict)
    _durable: dict[Path, _Inode] = field(default_factory=dict)
    _opened: dict[int, _Inode] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def survivors(self) -> dict[Path, bytes]:
        """Return the files that a power cut now would leave, with their content; paths are relative to the root."""
        with self._lock:
            return {
                path.relative_to(self.root): inode.content
                for path, inode in self._durable.items()
                if inode.content is not None and self._is_reachable(path)
            }

    def create(self, path: Path) -> int:
        with self._lock:
            descriptor = super().create(path)
            self._live[path] = self._opened[descriptor] = _Inode()
            return descriptor

    def open(self, path: Path) -> int:
        with self._lock:
            descriptor = super().open(path)
            self._opened[descriptor] = self._live.setdefault(path, _Inode())
            return descriptor

    def sync(self, descriptor: int) -> None:
        with self._lock:
            inode = self._opened[descriptor]
            path = next(path for path, one in self._live.items() if one is inode)
            inode.content = path.read_bytes()

    def close(self, descriptor: int) -> None:
        with self._lock:
            del self._opened[descriptor]
            super().close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        with self._lock:
            super().rename(source, target)
            self._live[target] = self._live.pop(source)

    def make_folder(self, path: Path) -> bool:
        with self._lock:
            made = super().make_folder(path)
            if made:
                self._live[path] = _Inode(None)
            return made

    def sync_folder(self, path: Path) -> None:
        with self._lock:
            self._durable = {one: inode for one, inode in self._durable.items() if one.parent != path}
            self._durable |= {one: inode for one, inode in self._live.items() if one.parent == path}

    def remove(self, path: Path) -> None:
        with self._lock:
            super().remove(path)
            self._live.pop(path, None)

    def _is_reachable(self, path: Path) -> bool:
        folders = [one for one in path.parents if one != self.root and self.root in one.parents]
        return all(folder in self._durable for folder in folders)


def restore(survivors: dict[Path, bytes], root: Path) -> None:
    """Write what survived into another folder."""
    for path, content in survivors.items():
        target = root / path
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
