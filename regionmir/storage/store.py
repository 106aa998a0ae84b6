"""Objects on a local file system: streamed into `incoming`, then durably renamed to a path made of their hash."""

import os
import re
import secrets
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from regionmir.core.errors import StorageUnavailable
from regionmir.core.identifiers import Uid, parse_uid
from regionmir.core.records import StoredObject
from regionmir.storage.files import Files, OsFiles, is_locked, storage_errors
from regionmir.storage.part10 import HEAD_BYTES, dataset_offset, file_head

KEY = re.compile(r"([0-9a-f]{2})/([0-9a-f]{2})/(\1\2[0-9a-f]{60})_[0-9][0-9.]{0,63}\.dcm")
CHUNK = 1 << 20
_MOST_SYNCS = 16
"""Folders on the way to new ones that are synced beside them at the same time."""

_REMOVED = "removed"
"""Where an object lies between the decision to remove it and its deletion."""


class Incoming:
    """A data set on its way in. It exists as a file of `incoming` until it is kept or abandoned."""

    def __init__(self, files: Files, path: Path, head: bytes, transfer_syntax_uid: Uid) -> None:
        self.path = path
        self.transfer_syntax_uid = transfer_syntax_uid
        self.dataset_offset = len(head)
        self.dataset_bytes = 0
        self._files = files
        self._hash = sha256()
        self._done = False
        self._descriptor: int | None = files.create(path)
        try:
            files.write(self._descriptor, head)
        except OSError:
            self.abandon()
            raise

    def write(self, data: bytes | memoryview) -> None:
        """Append a part of the data set. Raises `StorageFull`, `StorageUnavailable`."""
        if self._descriptor is None:
            raise StorageUnavailable("the incoming object was closed")
        with storage_errors():
            self._files.write(self._descriptor, data)
        self._hash.update(data)
        self.dataset_bytes += len(data)

    def finish(self) -> str:
        """Make the content durable, close the file and return the SHA-256 of the data set."""
        if self._descriptor is None:
            raise StorageUnavailable("the incoming object was closed")
        with storage_errors():
            self._files.sync(self._descriptor)
        self._close()
        return self._hash.hexdigest()

    def abandon(self) -> None:
        """Delete the file. Safe to call at any time, also twice and after the object was kept."""
        if self._done:
            return
        self._done = True
        try:
            self._files.remove(self.path)
        finally:
            self._close()

    def kept(self) -> None:
        """Say that the file has another place now: there is nothing left to abandon."""
        self._done = True

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            self._files.close(descriptor)


class FileStore:
    """Objects under `root`/objects; `root`/incoming holds what is arriving and is on the same file system.

    The files are Part 10 objects: a head of our own, then the data set byte for byte as received. Keys look like
    `ab/cd/abcd...<64 hexadecimal digits>_<transfer syntax>.dcm`. Both folders have mode 0700, the files 0600.
    """

    def __init__(self, root: Path, files: Files | None = None) -> None:
        self._files: Files = files or OsFiles()
        self._durable: set[Path] = set()
        self._syncing = ThreadPoolExecutor(_MOST_SYNCS, "sync")
        with storage_errors():
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._root = root.resolve()
            for folder in (self.incoming_dir, self.objects_dir):
                self._make_own_folder(folder)
            self._files.sync_folder(self._root)

    @property
    def incoming_dir(self) -> Path:
        return self._root / "incoming"

    @property
    def objects_dir(self) -> Path:
        return self._root / "objects"

    def receive(
        self, *, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: Uid, source_ae: str | None = None
    ) -> Incoming:
        """Return a new object to write a data set into. Raises `StorageFull`, `StorageUnavailable`."""
        head = file_head(
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            transfer_syntax_uid=transfer_syntax_uid,
            source_ae=source_ae,
        )
        with storage_errors():
            return Incoming(self._files, self._new_path(), head, transfer_syntax_uid)

    def keep(self, incoming: Incoming) -> StoredObject:
        """Return the object, durably on disk: content synced, renamed, folder synced.

        Raises `StorageFull` or `StorageUnavailable`; the incoming file is then deleted.
        """
        try:
            stored = self._publish(incoming.path, incoming.finish(), incoming.transfer_syntax_uid)
        except Exception:
            incoming.abandon()
            raise
        incoming.kept()
        return stored

    def adopt(self, temp_path: Path, dataset_offset: int, transfer_syntax_uid: Uid) -> StoredObject:
        """Take over a file on the same file system whose data set begins at `dataset_offset`; see `keep`."""
        with storage_errors():
            descriptor = self._files.open(temp_path)
            try:
                os.fchmod(descriptor, 0o600)
                digest = _digest(descriptor, dataset_offset)
                self._files.sync(descriptor)
            finally:
                self._files.close(descriptor)
        return self._publish(temp_path, digest, transfer_syntax_uid)

    def bring(self, key: str, source: Path) -> None:
        """Copy a file to be the object `key`, durably; its content is hashed on the way.

        Raises `ValueError` where it is not what the key says, `FileNotFoundError`, `StorageFull`, `StorageUnavailable`.
        """
        target, temp = self.path(key), self._new_path()
        with source.open("rb") as file, storage_errors():
            descriptor = self._files.create(temp)
            try:
                if _copied(file, partial(self._files.write, descriptor)) != digest_of(key):
                    raise ValueError("its content is not what was received: the hash differs")
                self._files.sync(descriptor)
                self._make_folders(target.parent)
                self._files.rename(temp, target)
            finally:
                self._files.remove(temp)
                self._files.close(descriptor)
            self._sync_entries(target.parent)

    def link(self, key: str, source: Path) -> None:
        """Make a file of the same file system the object `key` too, by a hard link; its content is not looked at.

        Raises `FileNotFoundError`, `StorageFull`, `StorageUnavailable`, `ValueError` for what is no key.
        """
        target = self.path(key)
        if not source.is_file():
            raise FileNotFoundError(source.name)
        with storage_errors():
            self._make_folders(target.parent)
            target.hardlink_to(source)
            self._sync_entries(target.parent)

    def path(self, key: str) -> Path:
        """Return where the object `key` is. Raises `ValueError` for anything that is not a key."""
        if not KEY.fullmatch(key):
            raise ValueError("not a storage key")
        return self.objects_dir / key

    def open(self, key: str) -> BinaryIO:
        """Return the object as a readable file. Raises `FileNotFoundError`, or `ValueError` if it lies elsewhere."""
        path = self.path(key)
        if path.resolve() != path:
            raise ValueError("a storage key must not lead through a symbolic link")
        return os.fdopen(self._files.open(path), "rb")

    def dataset_sha256(self, key: str) -> str:
        """Return the SHA-256 of an object's data set, read from the disk now.

        Raises `FileNotFoundError`, `StorageUnavailable`, or `ValueError` where it is no object of ours.
        """
        with self.open(key) as file, storage_errors():
            return dataset_sha256(file)

    def exists(self, key: str) -> bool:
        return self.path(key).is_file()

    def delete(self, key: str) -> bool:
        """Delete the object, durably; False for one that is gone. Raises `StorageUnavailable`."""
        path = self.path(key)
        with storage_errors():
            if not path.exists():
                return False
            self._files.remove(path)
            self._files.sync_folder(path.parent)
        return True

    def keys(self) -> Iterator[str]:
        """Yield the keys of all objects, in the order of their bytes. Raises `StorageUnavailable`."""
        with storage_errors():
            for folder in (inner for outer in _sorted(self.objects_dir) for inner in _sorted(outer)):
                for path in _sorted(folder):
                    key = path.relative_to(self.objects_dir).as_posix()
                    if KEY.fullmatch(key):
                        yield key

    def age_s(self, key: str) -> float:
        """Return how long ago the object was written. Raises `FileNotFoundError`."""
        return time.time() - self.path(key).stat().st_mtime

    def size(self, key: str) -> int:
        """Return the bytes of the object's file. Raises `FileNotFoundError`."""
        return self.path(key).stat().st_size

    def set_aside(self, key: str, older_than_s: float) -> bool:
        """Move an object that nobody speaks of to the folder `unreferenced`; nothing is deleted.

        False where it was written less than `older_than_s` ago, also where that happens while it is being moved: it is
        put back then. Raises `StorageUnavailable`.
        """
        target = self._root / "unreferenced" / key.replace("/", "_")
        with storage_errors():
            if self.age_s(key) < older_than_s:
                return False
            self._make_own_folder(target.parent)
            self._files.rename(self.path(key), target)
            if time.time() - target.stat().st_mtime < older_than_s:
                self._files.rename(target, self.path(key))
                return False
            for folder in (target.parent, self.path(key).parent):
                self._files.sync_folder(folder)
        return True

    def remove(self, key: str, older_than_s: float, wanted: Callable[[str], bool]) -> bool:
        """Delete an object that nobody speaks of any more, and say whether it is gone.

        False where it was written less than `older_than_s` ago, or is `wanted` after all: the same object may arrive
        again at this very moment. It is put back then. Raises `StorageUnavailable`.
        """
        aside = self._root / _REMOVED / key.replace("/", "_")
        with storage_errors():
            try:
                if self.age_s(key) < older_than_s or wanted(key):
                    return False
            except FileNotFoundError:
                return not aside.exists()
            self._make_own_folder(aside.parent)
            self._files.rename(self.path(key), aside)
            if time.time() - aside.stat().st_mtime < older_than_s or wanted(key):
                self._files.rename(aside, self.path(key))
                self._files.sync_folder(self.path(key).parent)
                return False
            self._files.remove(aside)
            for folder in (self.path(key).parent, aside.parent):
                self._files.sync_folder(folder)
        return True

    def sweep_removed(self, wanted: Callable[[str], bool], older_than_s: float, after: str = "") -> str:
        """Put right what a crash in the middle of `remove` left: back where it is `wanted`, else deleted.

        Returns where the next portion begins, to be given as `after`; empty at the end, as here always. At once, too:
        `older_than_s` is for stores in which an arrival and a removal can meet.
        """
        with storage_errors():
            for aside in _sorted(self._root / _REMOVED):
                key = aside.name.replace("_", "/", 2)
                if wanted(key) and not self.exists(key):
                    self._make_folders(self.path(key).parent)
                    self._files.rename(aside, self.path(key))
                    self._sync_entries(self.path(key).parent)
                else:
                    self._files.remove(aside)
        return ""

    def drop_copies(self, spoken_of: Callable[[Collection[str]], set[str]]) -> int:
        """Delete copies on this machine of objects that nobody speaks of; return how many.

        `spoken_of` returns those keys of the given ones that somebody speaks of. Copies that were made or asked for in
        the last ten minutes stay until the next time. A local file system has none. Raises `StorageUnavailable`.
        """
        return 0

    def close(self) -> None:
        """Let go of what is held open: nothing, on a local file system."""

    def sweep_incoming(self) -> int:
        """Delete what interrupted transfers left and return how many files; files in use are left alone."""
        swept = 0
        with storage_errors():
            for path in self.incoming_dir.iterdir():
                if not is_locked(path):
                    self._files.remove(path)
                    swept += 1
        return swept

    def _publish(self, source: Path, digest: str, transfer_syntax_uid: Uid) -> StoredObject:
        key = f"{digest[:2]}/{digest[2:4]}/{digest}_{parse_uid(transfer_syntax_uid)}.dcm"
        target = self.path(key)
        with storage_errors():
            size = source.stat().st_size
            self._make_folders(target.parent)
            self._files.rename(source, target)
            self._sync_entries(target.parent)
        return StoredObject(key, digest, size, transfer_syntax_uid)

    def _make_folders(self, folder: Path) -> None:
        """Make `objects/ab/cd`; `_sync_entries` makes them durable."""
        for path in (folder.parent, folder):
            self._files.make_folder(path)
            if path.is_symlink():
                raise StorageUnavailable("a folder of the object store is a symbolic link")

    def _sync_entries(self, folder: Path) -> None:
        """Return when a new object of `objects/ab/cd` is durable, and the entries that lead to it.

        All at the same time and after the rename: the disk's journal is then written and flushed once.
        """
        new = [path for path in (folder.parent, folder) if path not in self._durable]
        above = [self._syncing.submit(self._files.sync_folder, path.parent) for path in new]
        self._files.sync_folder(folder)
        for one in above:
            one.result()
        self._durable.update(new)

    def _new_path(self) -> Path:
        return self.incoming_dir / f"{secrets.token_hex(16)}.dcm"

    def _make_own_folder(self, folder: Path) -> None:
        self._files.make_folder(folder)
        if folder.is_symlink():
            raise StorageUnavailable(f"{folder.name} must not be a symbolic link")
        folder.chmod(0o700)


def digest_of(key: str) -> str:
    """Return the SHA-256 that an object's data set must have. Raises `ValueError` for what is no key."""
    match = KEY.fullmatch(key)
    if match is None:
        raise ValueError("not a storage key")
    return match[3]


def dataset_sha256(file: BinaryIO) -> str:
    """Return the SHA-256 of the data set of a Part 10 file, read from its beginning. Raises `ValueError`, `OSError`."""
    return _digest(file.fileno(), dataset_offset(file.read(HEAD_BYTES)))


def _copied(file: BinaryIO, write: Callable[[bytes], None]) -> str:
    """Hand a Part 10 file on in pieces and return the SHA-256 of its data set. Raises `ValueError`."""
    head = file.read(HEAD_BYTES)
    offset, digest = dataset_offset(head), sha256()
    write(head)
    write(file.read(offset - len(head)))
    while chunk := file.read(CHUNK):
        digest.update(chunk)
        write(chunk)
    return digest.hexdigest()


def _sorted(folder: Path) -> list[Path]:
    """Return what is in `folder`, by name; nothing where it is no folder."""
    return sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []


def _digest(descriptor: int, offset: int) -> str:
    digest = sha256()
    os.lseek(descriptor, offset, os.SEEK_SET)
    while chunk := os.read(descriptor, CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
