"""Objects on the disk against rows in the database, both ways."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from db import removed
from db.engine import Database
from db.objects import ExpectedObject, expected, is_expected
from regionmir.core.errors import StorageUnavailable
from regionmir.storage import FileStore


class Fault(StrEnum):
    """What can be wrong with an object."""

    MISSING = "missing"
    """A row speaks of it, and it is not on the disk."""
    DAMAGED = "damaged"
    """Its hash is not what the row says. Its size may be another: a resend replaces the head that we wrote."""
    UNREFERENCED = "unreferenced"
    """No row speaks of it: what a transfer left whose sender was never told Success."""
    UNREMOVED = "unremoved"
    """It was deleted, and the removal of its object was cut off."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One object that is not as it should be."""

    fault: Fault
    storage_key: str
    sop_instance_uid: str
    """Empty where no row speaks of it."""
    what: str


@dataclass(slots=True)
class Checked:
    """How much was looked at."""

    objects: int = 0
    bytes: int = 0


def check_objects(
    database: Database,
    store: FileStore,
    *,
    deep: bool,
    older_than_s: float,
    checked: Checked,
    progress: Callable[[Checked], None] | None = None,
) -> Iterator[Finding]:
    """Yield what is wrong, by storage key. `deep`: read every object and compare its hash, not only those of another
    size than their row says.

    Objects younger than `older_than_s` that no row speaks of may be arriving now and are passed over. `checked` counts
    along. Memory stays small whatever the number of objects: both sides are read in the order of their keys.
    """
    with database.session() as session:
        rows = groupby(expected(session), key=lambda row: row.storage_key)
        for key, group, on_disk in _merged(rows, store.keys()):
            if not group:
                if _is_to_go(database, key):
                    yield Finding(Fault.UNREMOVED, key, "", "deleted, and still on the disk")
                elif _is_left_over(database, store, key, older_than_s):
                    yield Finding(Fault.UNREFERENCED, key, "", f"{store.size(key)} bytes, no row speaks of it")
                continue
            checked.objects += 1
            fault = _fault(store, group[0], deep=deep, on_disk=on_disk)
            checked.bytes += group[0].size_bytes
            if fault:
                yield from (Finding(fault[0], key, row.sop_instance_uid, fault[1]) for row in group)
            if progress:
                progress(checked)


def _merged(
    rows: Iterator[tuple[str, Iterator[ExpectedObject]]], files: Iterator[str]
) -> Iterator[tuple[str, list[ExpectedObject], bool]]:
    """Yield each key that is on either side, its rows, and whether it was seen on the disk."""
    row, file = next(rows, None), next(files, None)
    while row is not None or file is not None:
        if row is None or (file is not None and file < row[0]):
            assert file is not None
            yield file, [], True
            file = next(files, None)
            continue
        key, group = row[0], list(row[1])
        yield key, group, file == key
        if file == key:
            file = next(files, None)
        row = next(rows, None)


def _fault(store: FileStore, row: ExpectedObject, *, deep: bool, on_disk: bool) -> tuple[Fault, str] | None:
    try:
        if not on_disk and not store.exists(row.storage_key):
            return Fault.MISSING, "no such file"
        size = store.size(row.storage_key)
        if (deep or size != row.size_bytes) and store.dataset_sha256(row.storage_key) != row.sha256:
            sizes = "" if size == row.size_bytes else f", {size} bytes, not {row.size_bytes}"
            return Fault.DAMAGED, f"its content is not what was received: the hash differs{sizes}"
    except FileNotFoundError:
        return Fault.MISSING, "no such file"
    except ValueError as error:
        return Fault.DAMAGED, str(error)
    except StorageUnavailable as error:
        return Fault.DAMAGED, f"cannot be read: {error}"
    return None


def _is_to_go(database: Database, key: str) -> bool:
    """Return whether the object is of an instance that was deleted, and still has to be removed."""
    with database.session() as session:
        return removed.is_left(session, key)


def _is_left_over(database: Database, store: FileStore, key: str, older_than_s: float) -> bool:
    """True for a file that is old enough and that no row speaks of now, whatever was true when the check began."""
    try:
        if store.age_s(key) < older_than_s:
            return False
    except FileNotFoundError:
        return False
    with database.session() as session:
        return not is_expected(session, key)
