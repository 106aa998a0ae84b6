"""Objects in an S3-compatible bucket: what arrives is spooled on the local disk, and kept once the bucket has it.

`keep` returns when the PUT has been answered: an S3-compatible store answers when the object is durable, and stores all
of it or nothing. Keys are made of the content's hash, so a PUT that is done twice changes nothing. Reading goes by a
folder of copies on the local disk, which may be emptied at any time. What goes from the bucket leaves the copies of
other machines when these ask whether anybody still speaks of it (`drop_copies`).
"""

import math
import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO
from urllib.parse import parse_qs, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from regionmir.core.errors import ConfigurationError, StorageUnavailable
from regionmir.core.identifiers import Uid, parse_uid
from regionmir.core.records import StoredObject
from regionmir.storage.files import Files, storage_errors
from regionmir.storage.part10 import HEAD_BYTES, dataset_offset
from regionmir.storage.store import CHUNK, KEY, FileStore, dataset_sha256, digest_of

SCHEME = "s3://"
_TIMEOUT_S = 10
_ATTEMPTS = 3
_KEPT_COPY_S = 600.0
"""A copy that was asked for so lately is not removed: somebody may be about to open it."""
_ASKED_AT_ONCE = 1000
"""Copies that are asked about with one statement."""
_SWEPT_AT_ONCE = 50
"""Objects that were removed and are deleted for good in one portion: a request or two each."""
_ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})


@dataclass(frozen=True, slots=True)
class BucketUrl:
    """What `s3://bucket/prefix?endpoint=https://s3.example&region=...` names. Credentials are those of AWS_*."""

    bucket: str
    prefix: str
    endpoint: str | None
    region: str


def parse_bucket_url(url: str) -> BucketUrl:
    """Return what `url` names. Raises `ConfigurationError`."""
    parts = urlsplit(url)
    options = parse_qs(parts.query)
    unknown = sorted(set(options) - {"endpoint", "region"})
    if parts.scheme != "s3" or not parts.netloc or "@" in parts.netloc or unknown:
        raise ConfigurationError("s3_url looks like s3://bucket/prefix?endpoint=https://s3.example&region=eu-west-1")
    prefix = parts.path.strip("/")
    endpoint = options.get("endpoint", [""])[0] or None
    region = options.get("region", ["us-east-1"])[0]
    return BucketUrl(parts.netloc, f"{prefix}/" if prefix else "", endpoint, region)


class BucketStore(FileStore):
    """A `FileStore` whose objects are in a bucket; under `root` are what arrives, and copies of what was read."""

    def __init__(self, root: Path, url: str, copies_bytes: int, files: Files | None = None) -> None:
        """`copies_bytes`: how much of the local disk copies may take, beside those of the last ten minutes."""
        super().__init__(root, files)
        self._url = parse_bucket_url(url)
        self._copies_bytes = copies_bytes
        self._new_bytes = 0
        self._counting = Lock()
        self._client = _client(self._url)

    @property
    def copies_dir(self) -> Path:
        return self.objects_dir

    def path(self, key: str) -> Path:
        """Return the path of a copy of the object, fetched now if there is none.

        Raises `FileNotFoundError`, `StorageUnavailable`, `StorageFull`, or `ValueError` for what is no key.
        """
        copy = super().path(key)
        try:
            os.utime(copy)
        except FileNotFoundError:
            self._fetch(key, copy)
        return copy

    def open(self, key: str) -> BinaryIO:
        self.path(key)
        return super().open(key)

    def dataset_sha256(self, key: str) -> str:
        """Return the SHA-256 of an object's data set, read from the bucket now, not from a copy."""
        with _bucket_errors():
            body = self._client.get_object(Bucket=self._url.bucket, Key=self._name(key))["Body"]
            head: bytes = body.read(HEAD_BYTES)
            offset, digest, at = dataset_offset(head), sha256(), len(head)
            for chunk in body.iter_chunks(CHUNK):
                digest.update(chunk[max(0, offset - at) :])
                at += len(chunk)
        return digest.hexdigest()

    def exists(self, key: str) -> bool:
        try:
            self._head(key)
        except FileNotFoundError:
            return False
        return True

    def size(self, key: str) -> int:
        return int(self._head(key)["ContentLength"])

    def age_s(self, key: str) -> float:
        return float(time.time() - self._head(key)["LastModified"].timestamp())

    def delete(self, key: str) -> bool:
        self._drop_copy(key)
        if not self.exists(key):
            return False
        self._delete(self._name(key))
        return True

    def remove(self, key: str, older_than_s: float, wanted: Callable[[str], bool]) -> bool:
        """As of a `FileStore`; but a copy lies aside until `sweep_removed` finds it as old as that.

        A bucket deletes whatever has the name: also the same object that arrives at that moment.
        """
        aside = self._removed(key)
        try:
            if wanted(key) or not self._moved(key, aside, older_than_s):
                return False
        except FileNotFoundError:
            self._drop_copy(key)
            return True
        if not wanted(key):
            return True
        self._copy(aside, self._name(key))
        return False

    def sweep_removed(self, wanted: Callable[[str], bool], older_than_s: float, after: str = "") -> str:
        """Delete what has lain aside for longer; what is `wanted` and not in its place is put back."""
        before, swept, folder = time.time() - older_than_s, 0, self._removed("")
        with _bucket_errors():
            page = self._client.list_objects_v2(Bucket=self._url.bucket, Prefix=folder, StartAfter=after or folder)
        for one in page.get("Contents", []):
            after = str(one["Key"])
            if one["LastModified"].timestamp() <= before:
                key = after.removeprefix(folder).replace("_", "/", 2)
                if wanted(key) and not self.exists(key):
                    self._copy(after, self._name(key))
                self._delete(after)
                swept += 1
            if swept == _SWEPT_AT_ONCE:
                return after
        return after if page["IsTruncated"] else ""

    def drop_copies(self, spoken_of: Callable[[Collection[str]], set[str]]) -> int:
        before, old = time.time() - _KEPT_COPY_S, []
        with storage_errors():
            for path in self.copies_dir.glob("*/*/*.dcm"):
                key = path.relative_to(self.copies_dir).as_posix()
                if KEY.fullmatch(key) and _used_at(path) <= before:
                    old.append(key)
            dropped = 0
            for start in range(0, len(old), _ASKED_AT_ONCE):
                keys = old[start : start + _ASKED_AT_ONCE]
                for key in set(keys) - spoken_of(keys):
                    if _used_at(super().path(key)) <= before:  # and nobody has asked for it meanwhile
                        self._drop_copy(key)
                        dropped += 1
        return dropped

    def bring(self, key: str, source: Path) -> None:
        with source.open("rb") as file:
            if dataset_sha256(file) != digest_of(key):
                raise ValueError("its content is not what was received: the hash differs")
        with source.open("rb") as file:
            self._put(key, file, source.stat().st_size)

    def link(self, key: str, source: Path) -> None:
        """Put a file into the bucket: nothing there can be linked to a file."""
        self.bring(key, source)

    def keys(self) -> Iterator[str]:
        pages = self._client.get_paginator("list_objects_v2")
        with _bucket_errors():
            for page in pages.paginate(Bucket=self._url.bucket, Prefix=self._name("")):
                for one in page.get("Contents", []):
                    key = str(one["Key"]).removeprefix(self._name(""))
                    if KEY.fullmatch(key):
                        yield key

    def set_aside(self, key: str, older_than_s: float) -> bool:
        return self._moved(key, f"{self._url.prefix}unreferenced/{key.replace('/', '_')}", older_than_s)

    def close(self) -> None:
        """Close the connections to the bucket."""
        self._client.close()

    def _publish(self, source: Path, digest: str, transfer_syntax_uid: Uid) -> StoredObject:
        key = f"{digest[:2]}/{digest[2:4]}/{digest}_{parse_uid(transfer_syntax_uid)}.dcm"
        with storage_errors():
            size = source.stat().st_size
        with source.open("rb") as file:
            self._put(key, file, size)
        copy = super().path(key)
        with storage_errors():
            copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._files.rename(source, copy)  # the workers of this machine need not fetch it
        self._count(size)
        return StoredObject(key, digest, size, transfer_syntax_uid)

    def _put(self, key: str, file: BinaryIO, size: int) -> None:
        with _bucket_errors():
            self._client.put_object(Bucket=self._url.bucket, Key=self._name(key), Body=file, ContentLength=size)

    def _moved(self, key: str, target: str, older_than_s: float) -> bool:
        """Move an object, unless it was written less than `older_than_s` ago, also while it is being copied.

        Raises `FileNotFoundError`.
        """
        if self.age_s(key) < older_than_s:
            return False
        self._copy(self._name(key), target)
        if self.age_s(key) < older_than_s:
            return False
        self._delete(self._name(key))
        self._drop_copy(key)
        return True

    def _copy(self, name: str, target: str) -> None:
        with _bucket_errors():
            source = {"Bucket": self._url.bucket, "Key": name}
            self._client.copy_object(Bucket=self._url.bucket, Key=target, CopySource=source)

    def _delete(self, name: str) -> None:
        with _bucket_errors():
            self._client.delete_object(Bucket=self._url.bucket, Key=name)

    def _drop_copy(self, key: str) -> None:
        with storage_errors():
            self._files.remove(super().path(key))

    def _removed(self, key: str) -> str:
        """Return the name in the bucket of an object that is removed, until it is deleted for good."""
        return f"{self._url.prefix}removed/{key.replace('/', '_')}"

    def _fetch(self, key: str, copy: Path) -> None:
        arriving = self._new_path()
        with _bucket_errors(), storage_errors():
            body = self._client.get_object(Bucket=self._url.bucket, Key=self._name(key))["Body"]
            descriptor = self._files.create(arriving)
            try:
                for chunk in body.iter_chunks(CHUNK):
                    self._files.write(descriptor, chunk)
                self._files.sync(descriptor)  # a copy that is there is not looked at again
            except BaseException:
                self._files.remove(arriving)
                raise
            finally:
                self._files.close(descriptor)
            copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._files.rename(arriving, copy)
            self._count(copy.stat().st_size)

    def _count(self, size: int) -> None:
        """Count what is new among the copies, and make room once it is a tenth of what they may take."""
        with self._counting:
            self._new_bytes += size
            if self._new_bytes <= self._copies_bytes / 10:
                return
            self._new_bytes = 0
        self._make_room()

    def _make_room(self) -> None:
        found = []
        for path in self.copies_dir.glob("*/*/*.dcm"):
            with suppress(FileNotFoundError):
                state = path.stat()
                found.append((state.st_mtime, state.st_size, path))
        taken, before = sum(size for _, size, _ in found), time.time() - _KEPT_COPY_S
        for used_at, size, path in sorted(found):
            if taken <= self._copies_bytes or used_at > before:
                return
            path.unlink(missing_ok=True)
            taken -= size

    def _head(self, key: str) -> Any:
        with _bucket_errors():
            return self._client.head_object(Bucket=self._url.bucket, Key=self._name(key))

    def _name(self, key: str) -> str:
        """Return the name in the bucket of the object `key`. Raises `ValueError` for what is no key."""
        if key:
            super().path(key)
        return f"{self._url.prefix}objects/{key}"


def _used_at(path: Path) -> float:
    """Return when a copy was made or asked for last, in seconds; infinity where it is gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return math.inf


def _client(url: BucketUrl) -> Any:
    # path style: servers of one's own rarely have a name for each bucket
    style = "path" if url.endpoint else "auto"
    config = Config(
        connect_timeout=_TIMEOUT_S,
        read_timeout=_TIMEOUT_S,
        retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
        max_pool_connections=32,
        s3={"addressing_style": style},
    )
    return boto3.session.Session().client("s3", endpoint_url=url.endpoint, region_name=url.region, config=config)


@contextmanager
def _bucket_errors() -> Iterator[None]:
    """Turn what boto3 raises into `FileNotFoundError` or `StorageUnavailable`."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", "unknown"))
        if code in _ABSENT:
            raise FileNotFoundError("no such object in the bucket") from None
        raise StorageUnavailable(f"the bucket refused ({code})") from None
    except BotoCoreError as error:
        raise StorageUnavailable(f"the bucket cannot be reached ({type(error).__name__})") from None
