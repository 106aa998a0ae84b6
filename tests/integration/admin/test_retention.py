"""Storage policies and retention rules on real objects and rows, as an administrator sets and runs them."""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless
from sqlalchemy import text

from db import commitments, deliveries, instances, peers, removal, removals, removed, snapshot, visibility
from db.commitments import Wanted
from db.deliveries import Result
from db.engine import Database
from db.instances import InstanceDetail
from db.peers import Peer
from db.removal import Removal
from db.removed import Again, Why
from db.retention import Terms
from regionmir.admin.main import main
from regionmir.archive.removing import remove_objects
from regionmir.archive.retention import Retention
from regionmir.core.errors import StorageUnavailable
from regionmir.core.identifiers import AETitle, Uid
from regionmir.core.keeping import Kept, StoragePolicy
from regionmir.core.records import Disclosure
from regionmir.pixels.decode import display_image
from regionmir.storage import FileStore
from tests.support.fake_model import FakeModel
from tests.support.filing import file_film
from tests.support.films import synthetic_film
from tests.support.find import find
from tests.support.running_node import running_node
from tests.support.web_server import web_server
from workers.commitment import CommitmentReporter
from workers.indexer import Indexer

TWO_HOURS_S = 7200.0


@dataclass
class Archive:
    """A data folder and its database, and `regionmir ...` on them."""

    database: Database
    folder: Path
    regionmir: Callable[..., Any]

    @property
    def store(self) -> FileStore:
        return FileStore(self.folder)

    def file(self, seed: int, source: str, *, index: bool = True, old_s: float = TWO_HOURS_S) -> tuple[Uid, Dataset]:
        """File one film from this AE as if it had come so long ago."""
        film = synthetic_film(seed, bits=12)
        uid = file_film(self.database, self.store, film, source_ae=source)
        if index:
            self.index()
        self.age(uid, old_s)
        return uid, film

    def index(self) -> None:
        indexer = Indexer(self.database, self.store, FakeModel(), 4, lease_s=60)
        indexer.drain()
        indexer.close()

    def age(self, uid: Uid, seconds: float) -> None:
        with self.database.session() as session:
            statement = (
                "UPDATE instance SET received_at = now() - make_interval(secs => :s) WHERE sop_instance_uid = :u"
            )
            session.execute(text(statement), {"s": seconds, "u": uid})
        path = self.path(uid)
        if path.exists():
            os.utime(path, times=(time.time() - seconds,) * 2)

    def detail(self, uid: Uid) -> InstanceDetail:
        with self.database.session() as session:
            found = instances.detail(session, uid)
        assert found is not None
        return found

    def hide(self, uid: Uid) -> None:
        """Hide an instance as a rejection note does."""
        with self.database.session() as session:
            by = Removal("operator", "rejected", why=Why.QUALITY, again=Again.HIDE, keep=True)
            assert removal.remove(session, removal.named("instance", uid), by).instances == 1

    def path(self, uid: Uid) -> Path:
        return self.store.path(self.detail(uid).storage_key)

    def kept(self, uid: Uid) -> str:
        with self.database.session() as session:
            found = session.execute(text("SELECT kept FROM instance WHERE sop_instance_uid = :u"), {"u": uid})
            return str(found.scalar_one())

    def register(self, ae_title: str, storage: StoragePolicy | None, keep_days: int | None = None) -> None:
        with self.database.session() as session:
            peers.upsert(session, Peer(AETitle(ae_title), storage=storage, keep_days=keep_days))

    def committed(self, uid: Uid, source: str) -> bool:
        """Return whether we vouch for an instance to the AE that sent it."""
        reporter = CommitmentReporter(self.database, self.store, AETitle("REGIONMIR"))
        wanted = Wanted(1, Uid("2.25.9"), AETitle(source), False, ((self.detail(uid).sop_class_uid, uid),), 1)
        return not reporter.check(wanted).failed

    def run(self, *options: str) -> Any:
        return self.regionmir("retention", "run", *options, "--json")

    def fsck(self) -> list[Any]:
        found: list[Any] = self.regionmir("fsck", "--deep", "--older-than", "0.02", "--json")["findings"]
        return found


@pytest.fixture
def archive(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Archive:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGIONMIR_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("REGIONMIR_DATABASE_URL", database.url.render_as_string(hide_password=False))

    def regionmir(*arguments: str) -> Any:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["regionmir", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert not ended.value.code, err
        return json.loads(out) if "--json" in arguments else out

    return Archive(database, tmp_path / "data", regionmir)


def test_without_rules_nothing_is_touched(archive: Archive) -> None:
    uid, _ = archive.file(1, "CR1", old_s=10 * 365 * 86400)
    report = archive.run()
    assert (report["reduced"], report["removed"], report["files"]) == (0, 0, 0)
    assert archive.kept(uid) == Kept.OBJECT
    assert archive.committed(uid, "CR1")


def test_a_reduced_copy_serves_pictures_and_is_neither_sent_nor_vouched_for(archive: Archive) -> None:
    archive.regionmir("peers", "add", "CR1", "--storage", "reduced")
    uid, film = archive.file(1, "CR1", index=False)
    other, _ = archive.file(2, "CR2", index=False)
    assert archive.run()["reduced"] == 0, "nothing is reduced before it has been worked on"
    archive.index()
    with archive.database.session() as session:
        study = session.execute(text("SELECT pk, study_instance_uid FROM study ORDER BY pk LIMIT 1")).one()
        result = Result("sr", study[0], Uid(study[1]), 1, Uid("2.25.5"), instance_pk=archive.detail(uid).summary.pk)
        assert deliveries.enqueue(session, result, AETitle("PACS"))
    assert archive.run("--dry-run")["reduced"] == 0, "a result is still to be made of it"
    with archive.database.session() as session:
        session.execute(text("UPDATE delivery SET state = 'dead'"))
    assert archive.run("--dry-run")["reduced"] == 1
    assert archive.kept(uid) == Kept.OBJECT
    assert not archive.committed(uid, "CR1"), "we do not vouch for what will not stay as it came"

    before, path = archive.detail(uid), archive.path(uid)
    report = archive.run()
    assert (report["reduced"], report["files"], report["by_rule"]) == (1, 1, {"storage policy": 1})
    assert not path.exists()
    assert (archive.kept(uid), archive.kept(other)) == (Kept.REDUCED, Kept.OBJECT)
    after = archive.detail(uid)
    assert after.regions == before.regions
    assert after.summary.size_bytes < before.summary.size_bytes / 2
    assert archive.fsck() == []
    assert not archive.committed(uid, "CR1")
    original, reduced = display_image(film), display_image(archive.path(uid))
    assert (reduced.stored_size, reduced.turn) == (original.stored_size, original.turn)
    assert float(np.abs(reduced.values - original.values).mean()) < 0.01
    events = archive.regionmir("audit", "search", "--kind", "objects reduced", "--json")
    assert str(uid) in json.dumps(events)
    assert archive.run()["reduced"] == 0

    file_film(archive.database, archive.store, film, source_ae="CR1")  # the modality sends it again
    assert archive.kept(uid) == Kept.OBJECT
    assert archive.fsck() == []


def test_with_the_policy_regions_a_film_is_found_and_not_kept(archive: Archive) -> None:
    archive.register("CR1", StoragePolicy.REGIONS)
    uid, film = archive.file(1, "CR1")
    archive.file(2, "CR2")
    path = archive.path(uid)
    assert archive.run()["removed"] == 1
    assert not path.exists()
    assert archive.fsck() == []
    assert archive.regionmir("status", "--json")["instances"]["indexed"] == 2
    with archive.database.session() as session:
        assert instances.reindex(session, everything=True) == 1, "what is not there is not worked on again"
        peers.upsert(session, Peer(AETitle("VIEWER"), can_find=True, disclosure=Disclosure.IDENTIFIED))
    archive.index()
    with running_node(archive.database, archive.folder) as node:
        keys = {"StudyDescription": f"SIM {film.StudyInstanceUID}", "StudyInstanceUID": ""}
        found = find(node.peer.port, "STUDY", called="RGN_RL", **keys)
        assert (found.status, len(found.rows)) == (0, 1), found.comment
    with web_server(archive.folder, archive.database.url.render_as_string(hide_password=False)) as served:
        studies = httpx.get(f"{served.dicomweb}/studies", trust_env=False).json()
        addresses = [one["00081190"]["Value"][0] for one in studies]
        answers = [httpx.get(one, headers={"Accept": "*/*"}, trust_env=False).status_code for one in addresses]
        told = [one["00080056"]["Value"][0] for one in studies]
        assert sorted(zip(answers, told, strict=True)) == [(200, "ONLINE"), (410, "UNAVAILABLE")]
    changed = synthetic_film(1, bits=12, StudyDescription="corrected")
    assert file_film(archive.database, archive.store, changed, source_ae="CR1") == uid
    archive.index()
    assert archive.kept(uid) == Kept.OBJECT
    assert archive.fsck() == []


@pytest.mark.parametrize("policy", [StoragePolicy.REGIONS, StoragePolicy.REDUCED])
def test_a_film_that_comes_again_in_another_transfer_syntax_is_the_same_instance(
    archive: Archive, policy: StoragePolicy
) -> None:
    archive.register("CR1", policy)
    uid, film = archive.file(1, "CR1")
    before = archive.detail(uid)
    archive.run()
    film.compress(JPEG2000Lossless, generate_instance_uid=False)
    file_film(archive.database, archive.store, film, source_ae="CR1")
    after = archive.detail(uid)
    assert archive.kept(uid) == Kept.OBJECT
    assert after.summary.state == before.summary.state == "indexed"
    assert (after.regions, after.versions) == (before.regions, ())
    assert after.transfer_syntax_uid == JPEG2000Lossless
    assert archive.fsck() == []

    archive.age(uid, TWO_HOURS_S)
    archive.run()
    film.decompress(generate_instance_uid=False)
    film.PixelData = film.PixelData[:-2] + b"\x01\x00"
    file_film(archive.database, archive.store, film, source_ae="CR1")
    assert archive.detail(uid).summary.state == "received", "one other pixel is another version"


def test_a_hidden_film_keeps_its_reduced_copy_and_is_shown_again_with_it(archive: Archive) -> None:
    archive.register("CR1", StoragePolicy.REDUCED)
    uid, film = archive.file(1, "CR1")
    archive.run()
    before, copy = archive.detail(uid), archive.path(uid)
    archive.hide(uid)
    remove_objects(archive.database, archive.store)
    assert copy.exists()
    assert archive.fsck() == []
    archive.register("CR1", None)
    with archive.database.session() as session:
        assert not commitments.kept(session, [uid], StoragePolicy.KEEP)[uid].for_good
    archive.regionmir("removed", "restore", uid, "--reason", "it was right")
    assert archive.kept(uid) == Kept.REDUCED
    after = archive.detail(uid)
    assert (after.storage_key, after.sha256) == (before.storage_key, before.sha256)
    assert after.transfer_syntax_uid == before.transfer_syntax_uid
    archive.index()
    assert archive.detail(uid).summary.state == "indexed"
    assert archive.fsck() == []

    archive.hide(uid)
    changed = synthetic_film(1, bits=12, StudyDescription="another")
    for sent, kept in ((changed, "reduced"), (film, "object")):
        if sent is film:
            film.compress(JPEG2000Lossless, generate_instance_uid=False)
        file_film(archive.database, archive.store, sent, source_ae="CR1")
        remove_objects(archive.database, archive.store)
        with archive.database.session() as session:
            hidden = removed.get(session, uid)
        assert hidden is not None
        assert (hidden.kept, archive.store.exists(hidden.storage_key)) == (kept, True)
        assert archive.fsck() == []
    archive.regionmir("removed", "restore", uid, "--reason", "it was right")
    assert archive.kept(uid) == Kept.OBJECT


def test_objects_go_after_the_days_of_their_ae_of_a_deleted_study_and_of_a_replaced_version(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = 86400.0
    archive.register("CR1", None, keep_days=30)
    old, _ = archive.file(1, "CR1", old_s=31 * day)
    newer, _ = archive.file(2, "CR1", old_s=29 * day)
    unlimited, _ = archive.file(3, "CR2", old_s=99 * day)
    hidden, film = archive.file(4, "CR2", old_s=9 * day)
    replaced, _ = archive.file(5, "CR2", old_s=9 * day)
    file_film(archive.database, archive.store, synthetic_film(5, bits=12, StudyDescription="new"), source_ae="CR2")
    with archive.database.session() as session:
        visibility.hide(session, [film.StudyInstanceUID], "deleted in main")
        session.execute(text("UPDATE study SET hidden_at = now() - interval '8 days' WHERE hidden_at IS NOT NULL"))
        session.execute(text("UPDATE instance_version SET received_at = now() - interval '8 days'"))
    monkeypatch.setenv("REGIONMIR_RETENTION_HIDDEN_DAYS", "7")
    monkeypatch.setenv("REGIONMIR_RETENTION_VERSIONS_DAYS", "7")
    report = archive.run()
    rules = {"older than its AE's days": 1, "deleted from its PACS": 1, "replaced by another version": 1}
    assert report["by_rule"] == rules
    assert report["files"] == 3
    gone = {uid for uid in (old, newer, unlimited, hidden, replaced) if archive.kept(uid) == Kept.NOTHING}
    assert gone == {old, hidden}
    assert archive.fsck() == []
    shown = archive.regionmir("retention", "show", "--json")
    assert shown["rules"]["deleted from PACS"] == "removed after 7 days"
    assert shown["ae_titles"] == {"CR1": {"storage": None, "keep_days": 30}}
    assert shown["held"]["CR1"] == {"object": 1, "reduced": 0, "nothing": 1}


def test_no_file_goes_while_a_backup_copies_objects(archive: Archive) -> None:
    archive.register("CR1", StoragePolicy.REGIONS)
    uid, _ = archive.file(1, "CR1")
    path = archive.path(uid)
    with snapshot.objects_held(archive.database):
        report = archive.run()
        assert (report["removed"], report["files"], report["postponed"]) == (1, 0, True)
        assert path.exists()
    assert archive.run()["files"] == 1
    assert not path.exists()


def test_a_file_that_a_crash_left_behind_goes_with_the_next_run(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.register("CR1", StoragePolicy.REGIONS)
    uid, film = archive.file(1, "CR1")
    path = archive.path(uid)

    def crash(*_: object) -> bool:
        raise StorageUnavailable("the machine stops here")

    rules = Retention(archive.database, archive.store, Terms(), 10**8)
    with monkeypatch.context() as broken:
        broken.setattr(FileStore, "remove", crash)
        with pytest.raises(StorageUnavailable):
            rules.run()
    assert path.exists()
    assert archive.kept(uid) == Kept.NOTHING
    aside = archive.folder / "removed" / archive.detail(uid).storage_key.replace("/", "_")
    aside.parent.mkdir(mode=0o700)
    path.rename(aside)  # and the next crash is between moving it aside and deleting it
    archive.run()
    assert not aside.exists()
    with archive.database.session() as session:
        assert removals.waiting(session) == []
    file_film(archive.database, archive.store, film, source_ae="CR1")
    path.rename(aside)  # it came again at that very moment
    archive.run()
    assert path.exists()
    assert archive.fsck() == []


def test_an_object_that_has_just_come_again_is_not_removed(archive: Archive) -> None:
    uid, _ = archive.file(1, "CR1")
    key = archive.detail(uid).storage_key
    store, path = archive.store, archive.path(uid)
    assert not store.remove(key, 60.0, lambda _: True), "a row speaks of it"
    asked: list[str] = []

    def comes_meanwhile(key: str) -> bool:
        asked.append(key)
        os.utime(path if path.exists() else archive.folder / "removed" / key.replace("/", "_"))
        return False

    assert not store.remove(key, 60.0, comes_meanwhile)
    assert asked
    assert path.exists()


def test_queries_are_forgotten_and_the_trail_is_not(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    _, film = archive.file(1, "CR1")
    archive.file(2, "CR1")
    with running_node(archive.database, archive.folder) as node:
        find(node.peer.port, "STUDY", called="RGN_RL", StudyDescription=f"SIM {film.AccessionNumber}")
    with archive.database.session() as session:
        session.execute(text("UPDATE query_log SET asked_at = now() - interval '8 days'"))
    monkeypatch.setenv("REGIONMIR_RETENTION_QUERY_LOG_DAYS", "7")
    assert archive.run("--dry-run")["queries"] == 1
    assert archive.run()["queries"] == 1
    assert archive.run()["queries"] == 0
    archive.regionmir("audit", "verify")
