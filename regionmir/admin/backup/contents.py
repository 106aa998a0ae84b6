"""What a backup consists of: one folder with a dump of the database, objects, and a manifest that is written last."""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, Final

from regionmir.core.errors import RegionMirError

FORMAT: Final = 1
MANIFEST: Final = "backup.json"
DUMP: Final = "database.dump"
"""In the custom format of `pg_dump`."""
LISTING: Final = "objects.jsonl"
"""One line for each object that the dump speaks of, in the order of their keys."""
SITE_KEY: Final = "site.key"
"""The secret under which pseudonyms are made: whoever has it can tell whose a pseudonym is."""


class BackupError(RegionMirError):
    """A backup that is incomplete, damaged, or of another RegionMIR."""


class ObjectsMode(StrEnum):
    """Where the objects of a backup are."""

    COPY = "copy"
    """Copied, and hashed on the way."""
    LINK = "link"
    """Hard links on the same file system: no space, but a damaged disk damages both."""
    MANIFEST = "manifest"
    """Only listed: something else copies the folder `objects`, after this."""


@dataclass(frozen=True, slots=True)
class ListedObject:
    """One line of the listing. `sha256` is of the data set, `size` of the file."""

    key: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of the backup beside its objects."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup is of and consists of; it exists once all the rest is on the disk."""

    made_at: str
    regionmir: str
    schema: str
    postgresql: str
    models: tuple[str, ...]
    ae_title: str
    mode: ObjectsMode
    objects: int
    bytes: int
    files: dict[str, FileEntry]
    faults: dict[str, str]
    """Objects that were missing or damaged when the backup was made, and what was wrong."""
    format: int = FORMAT


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write down, durably and at once, that the backup in `folder` is complete."""
    new = folder / f"{MANIFEST}.new"
    with open_private(new) as file:
        file.write(json.dumps(asdict(manifest), indent=2).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    new.rename(folder / MANIFEST)
    sync_folder(folder)


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a complete backup. Raises `BackupError`."""
    try:
        values: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if values.get("format") != FORMAT:
            raise BackupError(f"{folder} is a backup of format {values.get('format')!r}; this RegionMIR reads {FORMAT}")
        values = {field.name: values[field.name] for field in fields(Manifest)}
        values["files"] = {name: FileEntry(**entry) for name, entry in values["files"].items()}
        values["mode"] = ObjectsMode(values["mode"])
        values["models"] = tuple(values["models"])
        return Manifest(**values)
    except FileNotFoundError:
        raise BackupError(f"{folder} holds no complete backup: there is no {MANIFEST} in it") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackupError(f"the manifest in {folder} cannot be read ({type(error).__name__})") from None


def identity(folder: Path) -> str:
    """Return what tells this backup from every other: the SHA-256 of its manifest."""
    return sha256((folder / MANIFEST).read_bytes()).hexdigest()


def listed(folder: Path) -> Iterator[ListedObject]:
    """Yield the objects that the listing names. Raises `BackupError` where a line cannot be read."""
    with (folder / LISTING).open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                yield ListedObject(**json.loads(line))
            except (ValueError, TypeError):
                raise BackupError(f"line {number} of {folder / LISTING} cannot be read") from None


def entry_of(path: Path) -> FileEntry:
    """Return size and hash of a file as it lies on the disk."""
    with path.open("rb") as file:
        return FileEntry(os.fstat(file.fileno()).st_size, file_digest(file, "sha256").hexdigest())


def open_private(path: Path) -> Any:
    """Return a new file to write bytes to, with mode 0600."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb")


def sync_folder(folder: Path) -> None:
    """Return when the entries of a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
