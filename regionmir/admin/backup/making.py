"""Making a backup while everything runs: first one state of the database, then every object that it speaks of.

Objects never change, and none is removed meanwhile (`db.snapshot.objects_held`); what arrives later is not part of it.
"""

import datetime as dt
import json
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path

from db import objects
from db.engine import Database
from db.snapshot import Snapshot, Versions, libpq_environment, objects_held, snapshot, versions
from regionmir import __version__
from regionmir.admin.backup import contents, programs
from regionmir.admin.backup.contents import ListedObject, Manifest, ObjectsMode
from regionmir.core.errors import ConfigurationError, StorageUnavailable
from regionmir.core.settings import Settings
from regionmir.storage import FileStore, open_store


@dataclass(slots=True)
class Progress:
    """How far it has come; `told` is called after each step."""

    told: Callable[["Progress"], None] = lambda _: None
    step: str = ""
    objects: int = 0
    bytes: int = 0
    of_objects: int = 0
    faults: dict[str, str] = field(default_factory=dict)

    def begin(self, step: str) -> None:
        self.step = step
        self.told(self)

    def one_more(self, size: int) -> None:
        self.objects += 1
        self.bytes += size
        self.told(self)


def make_backup(
    database: Database, settings: Settings, folder: Path, mode: ObjectsMode, progress: Progress
) -> Manifest:
    """Write a backup into the new or empty `folder` and return its manifest.

    An object that is missing or damaged is one of its `faults`, and does not stop it. Raises `ConfigurationError` where
    the folder cannot be used, `BackupError`, `DatabaseUnavailable`, `StorageFull`.
    """
    _prepare(folder)
    with closing(open_store(settings)) as store, objects_held(database):
        if mode is ObjectsMode.LINK:
            _require_same_file_system(store.objects_dir, folder)
        with snapshot(database) as found:
            made_of = versions(found)
            progress.begin("database")
            programs.dump(libpq_environment(database), found.name, folder / contents.DUMP)
            _list_objects(found, folder / contents.LISTING, progress)
        _keep_site_key(settings, folder)
        if mode is not ObjectsMode.MANIFEST:
            progress.begin("objects")
            _take_objects(store, folder, mode, progress)
    manifest = _manifest(settings, folder, mode, made_of, progress)
    contents.write_manifest(folder, manifest)
    return manifest


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ConfigurationError(f"{folder} is not empty: a backup needs a folder of its own")
        folder.chmod(0o700)
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be written ({error.strerror})") from None


def _require_same_file_system(objects_dir: Path, folder: Path) -> None:
    if objects_dir.stat().st_dev != folder.stat().st_dev:
        raise ConfigurationError(f"{folder} is on another file system than the objects: use --objects copy")


def _list_objects(found: Snapshot, path: Path, progress: Progress) -> None:
    """Write down every object that the snapshot speaks of, each once."""
    with contents.open_private(path) as file:
        for key, rows in groupby(objects.expected(found.session), key=lambda row: row.storage_key):
            row = next(rows)
            one = ListedObject(key, row.size_bytes, row.sha256)
            file.write(json.dumps(asdict(one)).encode() + b"\n")
            progress.of_objects += 1
        file.flush()
        os.fsync(file.fileno())


def _keep_site_key(settings: Settings, folder: Path) -> None:
    """Copy the secret of the pseudonyms; where there is none yet, nothing was ever received."""
    source = settings.site_key_path
    if source.exists():
        with contents.open_private(folder / contents.SITE_KEY) as file:
            file.write(source.read_bytes())
            file.flush()
            os.fsync(file.fileno())


def _take_objects(store: FileStore, folder: Path, mode: ObjectsMode, progress: Progress) -> None:
    target = FileStore(folder)
    take = target.bring if mode is ObjectsMode.COPY else target.link
    for one in contents.listed(folder):
        try:
            take(one.key, store.path(one.key))
        except FileNotFoundError:
            progress.faults[one.key] = "missing"
        except (ValueError, StorageUnavailable) as error:
            progress.faults[one.key] = str(error)
        progress.one_more(one.size)
    shutil.rmtree(target.incoming_dir)


def _manifest(settings: Settings, folder: Path, mode: ObjectsMode, of: Versions, progress: Progress) -> Manifest:
    names = [name for name in (contents.DUMP, contents.LISTING, contents.SITE_KEY) if (folder / name).exists()]
    return Manifest(
        made_at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        regionmir=__version__,
        schema=of.schema,
        postgresql=of.postgresql,
        models=of.models,
        ae_title=settings.ae_title,
        mode=mode,
        objects=progress.of_objects,
        bytes=sum(one.size for one in contents.listed(folder)),
        files={name: contents.entry_of(folder / name) for name in names},
        faults=progress.faults,
    )
