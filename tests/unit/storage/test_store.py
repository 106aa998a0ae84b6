"""The object store: what is kept is durable and unchanged, what is not kept leaves nothing."""

import errno
import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import ClassVar

import pytest

from regionmir.core.errors import StorageFull, StorageUnavailable
from regionmir.core.identifiers import Uid
from regionmir.storage import FileStore, Incoming, OsFiles
from tests.support.files import FailingFiles, RecordingFiles

EXPLICIT = Uid("1.2.840.10008.1.2.1")
DATASET = b"\x08\x00\x18\x00UI\x04\x001.2\0" * 1000
DIGEST = hashlib.sha256(DATASET).hexdigest()
NAMES = {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.1", "sop_instance_uid": "1.2.3", "transfer_syntax_uid": EXPLICIT}


def arriving(store: FileStore, data: bytes = DATASET) -> Incoming:
    incoming = store.receive(**NAMES, source_ae="MODALITY")
    for at in range(0, len(data), 4096):
        incoming.write(data[at : at + 4096])
    return incoming


def files_under(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_kept_object_holds_the_data_set_byte_for_byte_after_a_head_of_our_own(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    incoming = arriving(store)
    stored = store.keep(incoming)
    content = store.path(stored.key).read_bytes()
    assert content[128:132] == b"DICM"
    assert content[incoming.dataset_offset :] == DATASET
    assert stored.sha256 == DIGEST
    assert stored.size_bytes == len(content)
    assert stored.key == f"{DIGEST[:2]}/{DIGEST[2:4]}/{DIGEST}_{EXPLICIT}.dcm"


def test_objects_and_their_folders_are_for_their_owner_only_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = FileStore(tmp_path / "data")
        kept = store.path(store.keep(arriving(store)).key)
        arriving(store)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in files_under(tmp_path)} == {0o600}
    folders = (tmp_path / "data", store.incoming_dir, store.objects_dir, kept.parent, kept.parent.parent)
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o700}


def test_the_head_is_a_valid_meta_group_that_names_us_and_the_sender(tmp_path: Path) -> None:
    from pydicom import dcmread

    store = FileStore(tmp_path)
    meta = dcmread(store.path(store.keep(arriving(store)).key), stop_before_pixels=True).file_meta
    assert meta.MediaStorageSOPInstanceUID == "1.2.3"
    assert meta.TransferSyntaxUID == EXPLICIT
    assert meta.SourceApplicationEntityTitle == "MODALITY"
    assert meta.ImplementationVersionName.startswith("REGIONMIR")
    assert len(meta.ImplementationVersionName) <= 16


def test_an_object_is_as_long_whoever_sends_it(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    sizes = set()
    for source in ("CR1", "MODALITY", "SIXTEEN_LETTERS_"):
        incoming = store.receive(**NAMES, source_ae=source)
        incoming.write(b"data")
        sizes.add(store.keep(incoming).size_bytes)
    assert len(sizes) == 1


def test_the_content_is_synced_before_the_rename_and_the_folder_after_it(tmp_path: Path) -> None:
    files = RecordingFiles()
    store = FileStore(tmp_path, files)
    incoming = arriving(store)
    files.calls.clear()
    incoming.write(b"last")
    stored = store.keep(incoming)
    folder = store.path(stored.key).parent
    names = [name for name, _ in files.calls]
    assert names[:3] == ["write", "sync", "close"]
    assert names.index("rename") > names.index("sync")
    assert files.calls[-1] == ("sync_folder", folder.name)
    made = [detail for name, detail in files.calls if name == "sync_folder"]
    assert made == ["objects", folder.parent.name, folder.name]


def test_equal_data_sets_are_one_object(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    assert store.keep(arriving(store)).key == store.keep(arriving(store)).key
    assert len(files_under(store.objects_dir)) == 1
    assert files_under(store.incoming_dir) == []


def test_a_data_set_of_an_equal_hash_but_another_syntax_is_another_object(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    one = store.keep(arriving(store))
    other = store.receive(sop_class_uid="1", sop_instance_uid="1", transfer_syntax_uid=Uid("1.2.840.10008.1.2"))
    other.write(DATASET)
    assert store.keep(other).key != one.key


def test_an_abandoned_object_leaves_nothing(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    incoming = arriving(store)
    incoming.abandon()
    incoming.abandon()
    assert files_under(tmp_path) == []
    with pytest.raises(StorageUnavailable):
        incoming.write(b"more")


def test_abandoning_after_keeping_deletes_nothing(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    incoming = arriving(store)
    stored = store.keep(incoming)
    incoming.abandon()
    assert store.exists(stored.key)


@pytest.mark.parametrize("operation", ["create", "write", "sync", "rename", "sync_folder", "make_folder"])
@pytest.mark.parametrize(
    ("number", "expected"),
    [(errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EIO, StorageUnavailable)],
)
def test_a_failing_disk_is_told_apart_and_leaves_nothing_incoming(
    tmp_path: Path, operation: str, number: int, expected: type[Exception]
) -> None:
    files = FailingFiles()
    store = FileStore(tmp_path, files)
    files.fail(operation, number)
    with pytest.raises(expected):
        store.keep(arriving(store))
    assert files_under(store.incoming_dir) == []
    files.heal()
    assert store.keep(arriving(store)).sha256 == DIGEST


def test_a_full_disk_is_found_by_the_operating_system_too() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    from regionmir.storage.files import OsFiles, storage_errors

    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(StorageFull), storage_errors():
            OsFiles().write(descriptor, b"x")
    finally:
        os.close(descriptor)


def test_an_adopted_file_is_moved_and_hashed_from_its_data_set_on(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    temporary = store.incoming_dir / "temporary"
    temporary.write_bytes(b"head" + DATASET)
    stored = store.adopt(temporary, 4, EXPLICIT)
    assert stored.sha256 == DIGEST
    assert not temporary.exists()
    with store.open(stored.key) as file:
        assert file.read() == b"head" + DATASET


def test_a_symbolic_link_is_never_adopted(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "data")
    secret = tmp_path / "secret"
    secret.write_text("secret")
    link = store.incoming_dir / "link"
    link.symlink_to(secret)
    with pytest.raises(StorageUnavailable):
        store.adopt(link, 0, EXPLICIT)
    assert secret.read_text() == "secret"


@pytest.mark.parametrize(
    "key", ["../incoming/x.dcm", "/etc/passwd", "", "ab/cd/x.dcm", f"00/00/{DIGEST}_1.2.dcm", f"{DIGEST}_1.2.dcm\n"]
)
def test_what_is_no_key_opens_nothing(tmp_path: Path, key: str) -> None:
    store = FileStore(tmp_path)
    for use in (store.path, store.open, store.exists, store.delete):
        with pytest.raises(ValueError, match="not a storage key"):
            use(key)


def test_a_key_that_leads_through_a_link_is_refused(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "data")
    stored = store.keep(arriving(store))
    path = store.path(stored.key)
    moved = tmp_path / "elsewhere"
    path.parent.rename(moved)
    path.parent.symlink_to(moved)
    with pytest.raises(ValueError, match="symbolic link"):
        store.open(stored.key)
    with pytest.raises(StorageUnavailable):
        store.keep(arriving(store))


def test_only_the_owner_can_read(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        store = FileStore(tmp_path / "data")
        stored = store.keep(arriving(store))
    finally:
        os.umask(old)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "data").rglob("*")}
    assert modes.pop(store.path(stored.key).name) == 0o600
    assert set(modes.values()) == {0o700}


def test_a_sweep_deletes_what_a_killed_process_left_and_nothing_in_use(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    in_use = arriving(store)
    killed = (
        "import os, sys; from pathlib import Path; from regionmir.storage import FileStore\n"
        "store = FileStore(Path(sys.argv[1]))\n"
        "store.receive(sop_class_uid='1', sop_instance_uid='1', transfer_syntax_uid='1').write(b'half')\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", killed, str(tmp_path)], check=False)
    assert len(files_under(store.incoming_dir)) == 2
    assert FileStore(tmp_path).sweep_incoming() == 1
    assert store.keep(in_use).sha256 == DIGEST


def test_a_deleted_object_is_gone_and_deleting_it_again_is_no_error(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    key = store.keep(arriving(store)).key
    store.delete(key)
    store.delete(key)
    assert not store.exists(key)
    with pytest.raises(FileNotFoundError):
        store.open(key)


def test_folders_are_synced_at_the_same_time_and_once_while_they_are_new(tmp_path: Path) -> None:
    class Together(OsFiles):
        """Syncs a folder only when so many are being synced."""

        meeting = threading.Barrier(1)
        meetings: ClassVar[list[Path]] = []

        def sync_folder(self, path: Path) -> None:
            if self.meeting.wait(10) == 0:  # one of those that met says so: appending is safe between threads
                self.meetings.append(path)
            super().sync_folder(path)

    files = Together()
    store = FileStore(tmp_path, files)
    for number in (3, 1, 1):
        files.meeting = threading.Barrier(number)
        files.meetings.clear()
        assert store.keep(arriving(store)).sha256 == DIGEST
        assert len(files.meetings) == 1


def test_a_folder_above_that_is_not_synced_fails_the_object(tmp_path: Path) -> None:
    class Failing(OsFiles):
        failing = False

        def sync_folder(self, path: Path) -> None:
            if self.failing and path.name == "objects":
                raise OSError(errno.EIO, "")
            super().sync_folder(path)

    files = Failing()
    store = FileStore(tmp_path, files)
    files.failing = True
    for _ in range(2):  # also the next object of the same folder
        with pytest.raises(StorageUnavailable):
            store.keep(arriving(store))
    files.failing = False
    assert store.exists(store.keep(arriving(store)).key)
