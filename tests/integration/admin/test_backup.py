"""`regionmir backup`, `backup verify` and `restore`, as an administrator types them, on a whole data folder."""

import io
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from db import instances, snapshot
from db.engine import Database
from db.migrate import upgrade
from regionmir.admin.backup import contents, unfinished
from regionmir.admin.backup.unfinished import Mark
from regionmir.admin.main import main
from regionmir.admin.postgres import LocalPostgres
from regionmir.admin.up import run_up
from regionmir.core.errors import ConfigurationError
from regionmir.core.settings import load_settings
from regionmir.scu.store import Result
from regionmir.storage import FileStore
from regionmir.storage.part10 import dataset_offset, file_head
from tests.support.fake_model import FakeModel
from tests.support.films import write_films
from tests.support.find import find
from tests.support.running_node import RunningNode, running_node
from workers.indexer import Indexer

BEFORE, DURING, LATER = 6, 16, 2
DEADLINE_S = 60.0


@dataclass
class DataFolder:
    """A data folder with its own PostgreSQL running, as `regionmir up` would run it."""

    path: Path
    url: str
    database: Database
    acknowledged: set[str] = field(default_factory=set)

    def send(self, node: RunningNode, films: list[Path]) -> None:
        """Send films and note which were acknowledged."""
        for one in node.receive(*films):
            assert one.result is Result.STORED
            self.acknowledged.add(str(one.sop_instance_uid))

    def index(self) -> None:
        indexer = Indexer(self.database, FileStore(self.path), FakeModel(), 16, lease_s=60)
        indexer.drain()
        indexer.close()

    def send_until(self, node: RunningNode, films: list[Path], done: threading.Event) -> None:
        """Send all films, and then again and again until it is `done`."""
        self.send(node, films)
        while not done.is_set():
            self.send(node, films[:1])

    def regionmir(self, *arguments: object) -> "Ended":
        return regionmir(self.path, *arguments, REGIONMIR_DATABASE_URL=self.url)

    def uids(self) -> set[str]:
        with self.database.session() as session:
            return {str(one.sop_instance_uid) for one in instances.listing(session)}


@contextmanager
def opened(path: Path) -> Iterator[DataFolder]:
    """Run PostgreSQL on a data folder, making both if need be."""
    path.mkdir(mode=0o700, exist_ok=True)
    server = LocalPostgres(path / "postgres", path / "run" / "postgres")
    server.start()
    database = Database(server.url, application_name="test")
    try:
        upgrade(database)
        yield DataFolder(path, server.url, database)
    finally:
        database.close()
        server.stop()
        server.remove_socket_folder()


def command(data_dir: Path, *arguments: object, **environment: str) -> dict[str, Any]:
    """Return how to run `regionmir ARGUMENTS` on a data folder."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("REGIONMIR_")}
    words = [sys.executable, "-P", "-m", "regionmir.admin", *map(str, arguments)]
    return {"args": words, "env": {**inherited, "REGIONMIR_DATA_DIR": str(data_dir), **environment}}


@dataclass
class Ended:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        assert self.code in (0, 1), self.err
        return json.loads(self.out)


def regionmir(data_dir: Path, *arguments: object, **environment: str) -> Ended:
    """Run `regionmir ARGUMENTS` on a data folder in this process."""
    given = command(data_dir, *arguments, **environment)
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.dict(os.environ, given["env"], clear=True),
        patch.object(sys, "argv", ["regionmir", *given["args"][4:]]),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    return Ended(int(ended.value.code or 0), out.getvalue(), err.getvalue())


def answers(node: RunningNode) -> dict[str, list[Any]]:
    """Return what a pseudonymous AE is answered: every study, and every one with a region similar to the first's."""
    port = node.peer.port
    keys = dict.fromkeys(("StudyInstanceUID", "PatientID", "PatientName", "StudyDate", "AccessionNumber"), "")
    studies = find(port, "STUDY", **keys)
    assert studies.status == 0
    anchor = min(studies.values("StudyInstanceUID"))
    similar = find(port, "STUDY", called="RGN_RL", StudyDescription=f"SIM {anchor} k=200", PatientID="")
    assert similar.status == 0, similar.comment
    hits = zip(similar.values("StudyInstanceUID"), similar.values("PatientID"), strict=True)
    return {"studies": sorted(str(row) for row in studies.rows), "similar": list(hits)}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_films(tmp_path_factory.mktemp("films"), BEFORE + DURING + LATER, rows=64, columns=64)


@pytest.fixture(scope="module")
def restored(
    films: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> "Iterator[tuple[DataFolder, dict[str, Any]]]":
    """Return a restored data folder, and what is known of the one that was destroyed."""
    folder = tmp_path_factory.mktemp("drill")
    known = backed_up_and_destroyed(folder / "source", folder / "backup", films)
    known |= restored_after_a_kill(folder / "backup", folder / "restored")
    with opened(folder / "restored") as found:
        yield found, {**known, "backup": folder / "backup"}


def backed_up_and_destroyed(source: Path, backup: Path, films: list[Path]) -> dict[str, Any]:
    """Fill a data folder, back it up while more comes in, and delete it; return how it answered."""
    with opened(source) as archive, running_node(archive.database, source) as node:
        archive.send(node, films[:BEFORE])
        archive.index()
        before = set(archive.acknowledged)
        done = threading.Event()
        sender = threading.Thread(target=archive.send_until, args=(node, films[BEFORE:-LATER], done))
        sender.start()
        made = archive.regionmir("backup", "--out", backup, "--json").json()
        done.set()
        sender.join()
        archive.send(node, films[-LATER:])
        archive.index()
        known = {"before": before, "answers": answers(node), "made": made, "all": archive.uids()}
        known["key"] = (source / "site.key").read_bytes()
        assert known["all"] == archive.acknowledged
    shutil.rmtree(source)
    return known


def restored_after_a_kill(backup: Path, data_dir: Path) -> dict[str, Any]:
    """Restore; the first try is killed where it waits for an object in the middle. Return what was said meanwhile."""
    middle = list(contents.listed(backup))[BEFORE // 2]
    path = backup / "objects" / middle.key
    path.rename(backup / "aside")
    os.mkfifo(path)  # reading it waits for ever
    with subprocess.Popen(**command(data_dir, "restore", "--from", backup)) as first:
        until(lambda: list(data_dir.glob("objects/*/*/*.dcm")))
        until(lambda: list(data_dir.glob("postgres/postmaster.pid")))
        time.sleep(0.2)
        assert first.poll() is None
        first.send_signal(signal.SIGKILL)
    path.unlink()
    (backup / "aside").rename(path)
    with pytest.raises(ConfigurationError) as up:
        run_up(load_settings(data_dir=data_dir), lambda _: None)
    again = regionmir(data_dir, "restore", "--from", backup, "--json").json()
    twice = regionmir(data_dir, "restore", "--from", backup)
    return {"up": str(up.value), "twice": twice, "restored": again}


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_backup_made_during_ingest_holds_all_that_was_acknowledged_before_and_is_whole(
    restored: tuple[DataFolder, dict[str, Any]],
) -> None:
    folder, known = restored
    uids = folder.uids()
    assert known["before"] <= uids <= known["all"]
    assert known["made"]["objects"] == known["restored"]["objects"] == len(uids)
    assert known["made"]["faults"] == known["restored"]["faults"] == {}


def test_a_restored_folder_is_as_fsck_wants_it(restored: tuple[DataFolder, dict[str, Any]]) -> None:
    folder = restored[0]
    done = folder.regionmir("fsck", "--deep", "--older-than", "0.02", "--json")
    assert (done.code, done.json()["findings"]) == (0, [])
    assert done.json()["objects"] >= BEFORE
    assert folder.regionmir("audit", "verify").code == 0
    assert "backup restored" in folder.regionmir("audit", "search", "--json").out


def test_a_restored_folder_answers_as_the_destroyed_one_did_under_the_same_pseudonyms(
    restored: tuple[DataFolder, dict[str, Any]], films: list[Path]
) -> None:
    folder, known = restored
    folder.index()
    with running_node(folder.database, folder.path) as node:
        now = answers(node)
        assert set(now["studies"]) < set(known["answers"]["studies"])
        assert len(now["studies"]) >= BEFORE
        folder.send(node, films)  # a modality sends again what it was not sure of
        folder.index()
        assert answers(node) == known["answers"]
    assert (folder.path / "site.key").read_bytes() == known["key"]


def test_an_interrupted_restoration_must_be_ended_and_is_not_done_twice(
    restored: tuple[DataFolder, dict[str, Any]],
) -> None:
    folder, known = restored
    assert "only partly restored" in known["up"]
    assert known["twice"].code == 2
    assert "is not empty" in known["twice"].err
    assert not (folder.path / unfinished.MARK).exists()


def test_nobody_else_can_read_a_backup(restored: tuple[DataFolder, dict[str, Any]]) -> None:
    backup: Path = restored[1]["backup"]
    files = [path for path in backup.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(backup.stat().st_mode) == 0o700


def test_verification_names_what_is_damaged(restored: tuple[DataFolder, dict[str, Any]], tmp_path: Path) -> None:
    backup = tmp_path / "copy"
    shutil.copytree(restored[1]["backup"], backup)
    whole = regionmir(tmp_path, "backup", "verify", backup, "--json")
    assert (whole.code, whole.json()["faults"]) == (0, {})
    listed = [one.key for one in contents.listed(backup)][:4]
    first, second, third, other_head = (backup / "objects" / key for key in listed)
    content = other_head.read_bytes()
    names = {"sop_class_uid": "1.2", "sop_instance_uid": "1.2.3", "transfer_syntax_uid": "1.2.840.10008.1.2.1"}
    other_head.write_bytes(file_head(**names) + content[dataset_offset(content) :])
    first.unlink()
    second.write_bytes(second.read_bytes()[:-2])
    third.write_bytes(third.read_bytes()[:-1] + b"\x5a")
    dumped = bytearray((backup / contents.DUMP).read_bytes())
    dumped[len(dumped) // 2] ^= 1
    (backup / contents.DUMP).write_bytes(dumped)
    damaged = regionmir(tmp_path, "backup", "verify", backup, "--json")
    faults = damaged.json()["faults"]
    assert damaged.code == 1
    assert set(faults) == {contents.DUMP, *listed[:3]}
    assert faults[listed[0]] == "missing"
    refused = regionmir(tmp_path / "new", "restore", "--from", backup)
    assert refused.code == 1
    assert contents.DUMP in refused.err
    assert not (tmp_path / "new").exists()


def test_a_backup_of_a_damaged_archive_holds_all_else_and_names_the_damage(
    restored: tuple[DataFolder, dict[str, Any]], tmp_path: Path
) -> None:
    folder, _ = restored
    first, second = sorted((folder.path / "objects").rglob("*.dcm"))[:2]
    whole = second.read_bytes()
    first.rename(tmp_path / "aside")
    second.write_bytes(whole[:-1] + b"\x5a")
    try:
        made = folder.regionmir("backup", "--out", tmp_path / "backup", "--json")
    finally:
        (tmp_path / "aside").rename(first)
        second.write_bytes(whole)
    assert made.code == 1
    faults = made.json()["faults"]
    assert {Path(key).name for key in faults} == {first.name, second.name}
    assert faults[first.relative_to(folder.path / "objects").as_posix()] == "missing"
    assert len(list((tmp_path / "backup" / "objects").rglob("*.dcm"))) == made.json()["objects"] - 2
    verified = regionmir(tmp_path, "backup", "verify", tmp_path / "backup", "--json")
    assert (verified.code, verified.json()["faults"]) == (1, faults)


def test_a_backup_goes_into_a_folder_of_its_own(restored: tuple[DataFolder, dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "something").touch()
    refused = restored[0].regionmir("backup", "--out", tmp_path)
    assert (refused.code, "is not empty" in refused.err) == (2, True)
    incomplete = regionmir(tmp_path, "backup", "verify", tmp_path)
    assert (incomplete.code, "no complete backup" in incomplete.err) == (1, True)


@pytest.mark.parametrize("mode", ["link", "manifest"])
def test_objects_may_be_linked_or_copied_by_others(
    mode: str, restored: tuple[DataFolder, dict[str, Any]], tmp_path: Path, databases: Any
) -> None:
    folder, _ = restored
    backup, url = tmp_path / "backup", databases.empty()
    made = folder.regionmir("backup", "--out", backup, "--objects", mode, "--json")
    assert made.code == 0, made.err
    key = next(contents.listed(backup)).key
    linked = backup / "objects" / key
    assert linked.exists() == (mode == "link")
    assert mode == "manifest" or linked.samefile(folder.path / "objects" / key)
    options = ["--objects-from", folder.path] if mode == "manifest" else []
    (tmp_path / "new").mkdir()
    begun = Mark(contents.identity(backup), loading=True)  # it was killed while it loaded the database
    unfinished.write(tmp_path / "new", replace(begun, backup="0" * 64))
    another = regionmir(tmp_path / "new", "restore", "--from", backup, *options, REGIONMIR_DATABASE_URL=url)
    assert (another.code, "another backup is partly restored" in another.err) == (2, True)
    unfinished.write(tmp_path / "new", begun)
    done = regionmir(tmp_path / "new", "restore", "--from", backup, *options, REGIONMIR_DATABASE_URL=url)
    assert done.code == 0, done.err
    fsck = regionmir(tmp_path / "new", "fsck", "--json", REGIONMIR_DATABASE_URL=url).json()
    assert (fsck["objects"], fsck["findings"]) == (len(folder.uids()), [])
    other = regionmir(tmp_path / "other", "restore", "--from", backup, *options, REGIONMIR_DATABASE_URL=url)
    assert other.code == 2
    assert "the database is not empty" in other.err
    databases.drop(url)


def test_no_object_may_be_removed_while_a_backup_copies(database: Database) -> None:
    with snapshot.objects_held(database), database.session() as session:
        assert not snapshot.may_remove_objects(session)
    with database.session() as session:
        assert snapshot.may_remove_objects(session)
