"""Is a backup complete and undamaged? Every file and every object is read and hashed."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from regionmir.admin.backup import contents, programs
from regionmir.admin.backup.contents import BackupError, ListedObject, Manifest, ObjectsMode
from regionmir.admin.backup.making import Progress
from regionmir.core.errors import ConfigurationError
from regionmir.storage.store import dataset_sha256, digest_of


@dataclass(frozen=True, slots=True)
class Fault:
    """One file or object that is not as the manifest says."""

    name: str
    what: str


def verify(folder: Path, objects_from: Path | None, progress: Progress) -> Iterator[Fault]:
    """Yield what is wrong with the backup in `folder`; nothing if it can be restored whole.

    `objects_from`: the folder with the copied objects of a backup that only lists them. Raises `BackupError` where the
    backup is not complete.
    """
    manifest = contents.read_manifest(folder)
    progress.begin("files")
    damaged = list(check_files(folder, manifest))
    yield from damaged
    if any(fault.name == contents.LISTING for fault in damaged):
        return
    progress.of_objects = manifest.objects
    progress.begin("objects")
    root = objects_root(folder, manifest, objects_from, required=False)
    for one in contents.listed(folder):
        what = manifest.faults.get(one.key) or (fault_of(root, one) if root is not None else "")
        if what:
            yield Fault(one.key, what)
        progress.one_more(one.size)


def check_files(folder: Path, manifest: Manifest) -> Iterator[Fault]:
    """Yield what is wrong with the files beside the objects."""
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.is_file():
            yield Fault(name, "missing")
        elif contents.entry_of(path) != entry:
            yield Fault(name, "its content is not what was backed up: the hash differs")
        elif name == contents.DUMP:
            yield from _unreadable(path)


def objects_root(folder: Path, manifest: Manifest, objects_from: Path | None, *, required: bool) -> Path | None:
    """Return the folder with the objects, None where the backup only lists them and nobody says where they are.

    Raises `ConfigurationError`, also for the latter if they are `required`.
    """
    if manifest.mode is not ObjectsMode.MANIFEST:
        return folder / "objects"
    if objects_from is not None:
        root = objects_from / "objects" if (objects_from / "objects").is_dir() else objects_from
        if not root.is_dir():
            raise ConfigurationError(f"{objects_from} is no folder")
        return root
    if required:
        raise ConfigurationError("this backup only lists its objects: say with --objects-from where they are")
    return None


def fault_of(root: Path, one: ListedObject) -> str:
    """Return what is wrong with an object below `root`, empty if nothing is."""
    try:
        if digest_of(one.key) != one.sha256:
            return "its name is not its hash"
        with (root / one.key).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            intact = dataset_sha256(file) == one.sha256
    except FileNotFoundError:
        return "missing"
    except (OSError, ValueError) as error:
        return f"cannot be read ({type(error).__name__})"
    if intact:  # also of another size: a resend replaces the head that we wrote
        return ""
    sizes = "" if size == one.size else f", {size} bytes, not {one.size}"
    return f"its content is not what was received: the hash differs{sizes}"


def _unreadable(dumped: Path) -> Iterator[Fault]:
    try:
        programs.require_readable(dumped)
    except BackupError as error:
        yield Fault(dumped.name, str(error))
