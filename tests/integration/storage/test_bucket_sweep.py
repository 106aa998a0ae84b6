"""What the rules removed from a bucket is deleted for good in portions, between which a backup can begin."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from db import snapshot
from db.engine import Database
from db.retention import Terms
from regionmir.archive.retention import Retention
from regionmir.storage.bucket import BucketStore
from tests.support.bucket import CREDENTIALS, bucket_server, new_bucket

ASIDE = 70
DEADLINE_S = 60.0
PORTION = 50
"""No more may go while somebody waits."""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BucketStore]:
    """A store with objects that lie aside."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with bucket_server() as server:
        found = BucketStore(tmp_path, new_bucket(server, "films"), 1 << 30)
        for number in range(ASIDE):
            name = f"site/removed/00_00_{number:064x}_1.2.840.10008.1.2.1.dcm"
            found._client.put_object(Bucket="films", Key=name, Body=b"film")
        yield found
        found.close()


def left(store: BucketStore) -> int:
    return int(store._client.list_objects_v2(Bucket="films", Prefix="site/removed/")["KeyCount"])


def rules(database: Database, store: BucketStore, **options: object) -> Retention:
    return Retention(database, store, Terms(settle_s=0.0), 1 << 20, **options)  # type: ignore[arg-type]


def test_all_portions_of_what_lies_aside_are_deleted(database: Database, store: BucketStore) -> None:
    assert not rules(database, store).remove_files().postponed
    assert left(store) == 0


def test_a_sweep_stops_after_the_portion_at_hand(database: Database, store: BucketStore) -> None:
    rules(database, store, stopping=lambda: left(store) < ASIDE).remove_files()
    assert left(store) == ASIDE - PORTION


def test_a_backup_that_begins_during_a_sweep_waits_for_one_portion_only(database: Database, store: BucketStore) -> None:
    with Backup(database) as backup:
        store._client.meta.events.register("before-call.s3.DeleteObject", backup.begin)
        report = rules(database, store).remove_files()
        assert backup.holds.wait(DEADLINE_S)
    assert report.postponed
    assert left(store) == ASIDE - PORTION


class Backup:
    """Holds the objects from when `begin` is called until the block ends."""

    def __init__(self, database: Database) -> None:
        self.holds = threading.Event()
        self._database = database
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._hold)

    def __enter__(self) -> "Backup":
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def begin(self, **_: object) -> None:
        """Return, the first time, once it waits for who removes objects."""
        if self._thread.ident is not None:
            return
        self._thread.start()
        deadline = time.monotonic() + DEADLINE_S
        while not self._waits():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def _hold(self) -> None:
        with snapshot.objects_held(self._database):
            self.holds.set()
            self._over.wait()

    def _waits(self) -> bool:
        waiting = text("SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)")
        with self._database.session() as session:
            return bool(session.scalar(waiting))
