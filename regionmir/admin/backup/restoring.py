"""Restoring a backup into an empty data folder and an empty database, again where it was interrupted.

The database first, in one transaction; then the objects, each hashed on its way; then the schema of this version.
"""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from db import audit
from db.engine import Database
from db.migrate import known, upgrade
from db.snapshot import is_empty, libpq_environment
from regionmir.admin import running
from regionmir.admin.backup import contents, programs, unfinished
from regionmir.admin.backup.checking import check_files, fault_of, objects_root
from regionmir.admin.backup.contents import BackupError, Manifest
from regionmir.admin.backup.making import Progress
from regionmir.admin.backup.unfinished import Mark
from regionmir.admin.up import local_servers, prepare_data_folder
from regionmir.core.errors import ConfigurationError
from regionmir.core.settings import Settings
from regionmir.storage import FileStore, open_store


def restore(folder: Path, settings: Settings, objects_from: Path | None, progress: Progress) -> Manifest:
    """Restore the backup in `folder` and return its manifest.

    An object that cannot be restored is one of `progress.faults`; all others are restored. Raises `BackupError` for a
    backup that is incomplete, damaged or of a newer RegionMIR, `ConfigurationError` where the data folder or the
    database is not empty.
    """
    manifest = contents.read_manifest(folder)
    if manifest.schema not in known():
        raise BackupError(f"the backup has schema {manifest.schema}, of a newer RegionMIR ({manifest.regionmir})")
    progress.begin("files")
    for fault in check_files(folder, manifest):
        raise BackupError(f"{fault.name} of the backup: {fault.what}")
    root = objects_root(folder, manifest, objects_from, required=True)
    assert root is not None
    mark = _claim(settings, contents.identity(folder))
    with running.only_one(settings), _database(settings) as database:
        progress.begin("database")
        _load(database, settings, folder, mark)
        progress.of_objects = manifest.objects
        progress.begin("objects")
        with closing(open_store(settings)) as store:
            _objects(folder, root, store, progress)
        _site_key(folder, settings)
        _finish(database, manifest, progress)
    unfinished.end(settings.data_dir)
    return manifest


def _claim(settings: Settings, backup: str) -> Mark:
    """Take the data folder for this backup. Raises `ConfigurationError` where something else is in it."""
    data_dir = settings.data_dir
    mark = unfinished.read(data_dir)
    if mark is None:
        if data_dir.is_dir() and any(path.name != f"{unfinished.MARK}.new" for path in data_dir.iterdir()):
            raise ConfigurationError(f"{data_dir} is not empty: restore into a new folder (--data), or empty it")
        mark = Mark(backup)
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished.write(data_dir, mark)
    if mark.backup != backup:
        raise ConfigurationError(f"another backup is partly restored in {data_dir}: empty the folder first")
    prepare_data_folder(settings)
    return mark


def _objects(folder: Path, root: Path, store: FileStore, progress: Progress) -> None:
    """Bring every object that is not there already."""
    store.sweep_incoming()
    for one in contents.listed(folder):
        if fault_of(store.objects_dir, one):
            try:
                store.bring(one.key, root / one.key)
            except (FileNotFoundError, ValueError) as error:
                progress.faults[one.key] = "missing" if isinstance(error, FileNotFoundError) else str(error)
        progress.one_more(one.size)


def _site_key(folder: Path, settings: Settings) -> None:
    """Put the secret of the pseudonyms where the settings say. Raises `ConfigurationError` if another one is there."""
    source, target = folder / contents.SITE_KEY, settings.site_key_path
    if not source.exists():
        return
    if target.exists() and target.read_bytes() != source.read_bytes():
        raise ConfigurationError(f"{target} holds another site key: pseudonyms would not be those of the backup")
    new = target.with_name(f"{target.name}.new")
    with contents.open_private(new) as file:
        file.write(source.read_bytes())
        file.flush()
        os.fsync(file.fileno())
    new.rename(target)


@contextmanager
def _database(settings: Settings) -> Iterator[Database]:
    """Yield the database of the settings; our own server runs while the block does."""
    local = local_servers(settings).postgres
    try:
        if local is not None:
            local.start()
        url = settings.require_database_url() if local is None else local.url
        database = Database(url, application_name="regionmir restore", pool_size=1)
        try:
            yield database
        finally:
            database.close()
    finally:
        if local is not None:
            local.stop()
            local.remove_socket_folder()
            local.data_dir.with_name(f"{local.data_dir.name}.log").unlink(missing_ok=True)


def _load(database: Database, settings: Settings, folder: Path, mark: Mark) -> None:
    """Load the dump, unless that was done before. Raises `ConfigurationError` where the database was not empty."""
    empty = is_empty(database)
    if not empty and not mark.loading:
        raise ConfigurationError("the database is not empty: restore into a new one (REGIONMIR_DATABASE_URL)")
    if empty:
        unfinished.write(settings.data_dir, Mark(mark.backup, loading=True))
        programs.load(libpq_environment(database), folder / contents.DUMP)


def _finish(database: Database, manifest: Manifest, progress: Progress) -> None:
    """Bring the schema to this version and write down what was done."""
    upgrade(database)
    with database.session() as session:
        detail = {"made_at": manifest.made_at, "objects": manifest.objects, "faults": len(progress.faults)}
        audit.record(session, "backup restored", actor="operator", address="", detail=detail)
