"""Objects in a bucket, with the S3 server of moto: acknowledged once the bucket has them, and read back whole."""

import io
import os
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import boto3
import pytest

from regionmir.core.errors import ConfigurationError, StorageUnavailable
from regionmir.core.identifiers import Uid
from regionmir.core.settings import load_settings
from regionmir.storage import FileStore, open_store
from regionmir.storage.bucket import BucketStore, BucketUrl, parse_bucket_url
from tests.support.bucket import CREDENTIALS, bucket_server, new_bucket
from tests.support.files import RecordingFiles
from tests.support.ports import free_port

SYNTAX = Uid("1.2.840.10008.1.2.1")
DATA = os.urandom(3 << 20)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with bucket_server() as address:
        yield address


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def url(server: str, tmp_path: Path) -> str:
    return new_bucket(server, f"films-{sha256(str(tmp_path).encode()).hexdigest()[:12]}")


@pytest.fixture
def store(url: str, tmp_path: Path) -> Iterator[BucketStore]:
    found = BucketStore(tmp_path / "one", url, 1 << 30)
    yield found
    found.close()


def receive(store: FileStore, data: bytes) -> str:
    incoming = store.receive(sop_class_uid="1.2", sop_instance_uid="1.3", transfer_syntax_uid=SYNTAX)
    for start in range(0, len(data), 1 << 16):
        incoming.write(data[start : start + (1 << 16)])
    return store.keep(incoming).key


def test_what_is_kept_is_in_the_bucket_and_another_machine_reads_it(
    store: BucketStore, url: str, tmp_path: Path
) -> None:
    key = receive(store, DATA)
    other = BucketStore(tmp_path / "two", url, 1 << 30)
    assert other.exists(key)
    with other.open(key) as file:
        assert file.read().endswith(DATA)
    assert other.dataset_sha256(key) == sha256(DATA).hexdigest()
    assert list(other.keys()) == [key]
    assert other.size(key) == store.path(key).stat().st_size
    assert 0 <= other.age_s(key) < 60
    assert list(store.incoming_dir.iterdir()) == []
    other.close()


def test_an_object_is_not_kept_where_the_bucket_does_not_take_it(server: str, tmp_path: Path) -> None:
    store = BucketStore(tmp_path, f"s3://no-such-bucket?endpoint={server}", 1 << 30)
    incoming = store.receive(sop_class_uid="1.2", sop_instance_uid="1.3", transfer_syntax_uid=SYNTAX)
    incoming.write(b"film")
    with pytest.raises((StorageUnavailable, FileNotFoundError)):
        store.keep(incoming)
    assert list(store.incoming_dir.iterdir()) == []
    assert list(store.copies_dir.rglob("*.dcm")) == []
    store.close()


def test_a_bucket_that_is_away_is_a_fault_that_may_pass(tmp_path: Path) -> None:
    store = BucketStore(tmp_path, f"s3://films?endpoint=http://127.0.0.1:{free_port()}", 1 << 30)
    incoming = store.receive(sop_class_uid="1.2", sop_instance_uid="1.3", transfer_syntax_uid=SYNTAX)
    incoming.write(b"film")
    with pytest.raises(StorageUnavailable, match="cannot be reached"):
        store.keep(incoming)
    store.close()


def test_the_hash_of_an_object_is_of_what_the_bucket_holds_not_of_a_copy(store: BucketStore, server: str) -> None:
    key = receive(store, b"what came in" * 1000)
    client = boto3.client("s3", endpoint_url=server, region_name="us-east-1")
    name = store._name(key)
    held = client.get_object(Bucket=store._url.bucket, Key=name)["Body"].read()
    changed = held[:-1] + b"X"
    client.put_object(Bucket=store._url.bucket, Key=name, Body=io.BytesIO(changed))
    client.close()
    assert store.dataset_sha256(key) != sha256(b"what came in" * 1000).hexdigest()


def test_copies_are_removed_when_they_take_too_much_and_come_back_when_asked_for(url: str, tmp_path: Path) -> None:
    store = BucketStore(tmp_path / "small", url, 200_000)
    keys = [receive(store, os.urandom(60_000)) for _ in range(4)]
    for number, copy in enumerate(store.copies_dir.rglob("*.dcm")):
        os.utime(copy, (number, number))  # not asked for since 1970
    keys.append(receive(store, os.urandom(60_000)))
    assert sum(copy.stat().st_size for copy in store.copies_dir.rglob("*.dcm")) <= 200_000
    assert all(store.path(key).is_file() for key in keys)
    store.close()


def test_a_deleted_object_is_gone_and_one_set_aside_is_kept_under_another_name(store: BucketStore) -> None:
    first, second = receive(store, b"first"), receive(store, b"second")
    store.delete(first)
    assert not store.exists(first)
    with pytest.raises(FileNotFoundError):
        store.path(first)
    assert not store.set_aside(second, older_than_s=3600)
    assert store.set_aside(second, older_than_s=0)
    assert list(store.keys()) == []
    with pytest.raises(ValueError, match="key"):
        store.path("../../etc/passwd")


def test_a_deleted_object_leaves_no_copy_here_also_where_another_machine_was_first(
    store: BucketStore, url: str, tmp_path: Path
) -> None:
    other = BucketStore(tmp_path / "two", url, 1 << 30)
    first, second = receive(store, b"first"), receive(store, b"second")
    assert other.delete(first)
    assert other.delete(second)
    assert not store.delete(first), "it is gone already"
    assert store.remove(second, 0, lambda _: False)
    assert list(store.copies_dir.rglob("*.dcm")) == []
    other.close()


def test_copies_of_what_nobody_speaks_of_are_dropped_unless_asked_for_a_moment_ago(
    store: BucketStore,
) -> None:
    old, wanted, recent = (receive(store, content) for content in (b"old", b"wanted", b"recent"))
    for key in (old, wanted):
        os.utime(store.copies_dir / key, (1, 1))
    assert store.drop_copies(lambda keys: {wanted} & set(keys)) == 1
    left = {copy.relative_to(store.copies_dir).as_posix() for copy in store.copies_dir.rglob("*.dcm")}
    assert left == {wanted, recent}
    assert store.exists(old), "only the copy goes"


def test_a_copy_is_on_the_disk_before_it_has_its_name(store: BucketStore, url: str, tmp_path: Path) -> None:
    key, files = receive(store, b"film"), RecordingFiles()
    other = BucketStore(tmp_path / "two", url, 1 << 30, files)
    files.calls.clear()
    other.path(key)
    assert [what for what, _ in files.calls] == ["create", "write", "sync", "close", "rename"]
    other.close()


@pytest.mark.parametrize(
    "moment", ["before-call.s3.CopyObject", "after-call.s3.CopyObject", "before-call.s3.DeleteObject"]
)
def test_an_object_that_arrives_again_while_it_is_removed_is_not_lost(
    store: BucketStore, url: str, tmp_path: Path, moment: str
) -> None:
    key = receive(store, b"film")
    other = BucketStore(tmp_path / "two", url, 1 << 30)
    committed: list[str] = []
    arrive = Once(lambda: receive(other, b"film"))
    store._client.meta.events.register(moment, arrive)
    time.sleep(2.1)
    store.remove(key, 2.0, lambda _: False)
    assert arrive.done
    committed.append(key)
    store.sweep_removed(lambda key: key in committed, 60.0)
    assert list(aside(store)) != [], "what lies aside is not looked at before its time"
    store.sweep_removed(lambda key: key in committed, 0.0)
    assert store.dataset_sha256(key) == sha256(b"film").hexdigest()
    assert aside(store) == []
    other.close()


def test_an_object_that_arrives_again_while_it_is_set_aside_stays(store: BucketStore, url: str, tmp_path: Path) -> None:
    key = receive(store, b"film")
    other = BucketStore(tmp_path / "two", url, 1 << 30)
    store._client.meta.events.register("after-call.s3.CopyObject", Once(lambda: receive(other, b"film")))
    time.sleep(2.1)
    assert not store.set_aside(key, 2.0)
    assert store.exists(key)
    other.close()


class Once:
    """Does something at the first call."""

    def __init__(self, do: Callable[[], object]) -> None:
        self.done = False
        self._do = do

    def __call__(self, **_: object) -> None:
        if not self.done:
            self.done = True
            self._do()


def aside(store: BucketStore) -> list[str]:
    """Return what lies aside, on its way out of the bucket."""
    found = store._client.list_objects_v2(Bucket=store._url.bucket, Prefix="site/removed/")
    return [one["Key"] for one in found.get("Contents", [])]


def test_the_settings_choose_the_store(tmp_path: Path, url: str) -> None:
    assert type(open_store(load_settings(data_dir=tmp_path))) is FileStore
    store = open_store(load_settings(data_dir=tmp_path, s3_url=url))
    assert isinstance(store, BucketStore)
    store.close()


@pytest.mark.parametrize("url", ["http://bucket", "s3://", "s3://key:secret@bucket", "s3://bucket?endpont=http://x"])
def test_what_names_no_bucket_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="s3://bucket/prefix"):
        parse_bucket_url(url)
    assert parse_bucket_url("s3://films/a/b/") == BucketUrl("films", "a/b/", None, "us-east-1")


def test_an_object_that_nobody_wants_is_removed_and_one_that_is_wanted_meanwhile_is_put_back(
    store: BucketStore,
) -> None:
    key = receive(store, b"unwanted")
    assert not store.remove(key, 3600, lambda _: False), "it is too young"
    answers = iter((False, True))
    assert not store.remove(key, 0, lambda _: next(answers)), "it came again while it was being removed"
    assert store.exists(key)
    assert store.remove(key, 0, lambda _: False)
    assert not store.exists(key)
    assert list(store.keys()) == []
    assert aside(store) != [], "it may have been acknowledged again a moment ago"
    store.sweep_removed(lambda _: False, 0.0)
    assert aside(store) == []
    assert store.remove(key, 0, lambda _: False), "there is nothing left to remove"


def test_a_restored_object_is_in_the_bucket_and_a_damaged_one_is_refused(store: BucketStore, tmp_path: Path) -> None:
    key = receive(store, DATA)
    copy = tmp_path / "copy.dcm"
    copy.write_bytes(store.path(key).read_bytes())
    assert store.delete(key)
    store.bring(key, copy)
    assert store.dataset_sha256(key) == sha256(DATA).hexdigest()
    copy.write_bytes(copy.read_bytes()[:-1] + b"?")
    with pytest.raises(ValueError, match="hash differs"):
        store.bring(key, copy)
