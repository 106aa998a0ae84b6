"""Removing from the disk what was taken out of the archive: after the commit, durably, and again after a crash."""

from collections.abc import Collection
from functools import partial

from db import removed
from db.engine import Database
from db.objects import is_expected, spoken_of
from db.snapshot import may_remove_objects
from regionmir.core.periodic import Periodic
from regionmir.storage import FileStore

_AT_ONCE = 50
_COPIES_S = 600.0


def remove_objects(database: Database, store: FileStore) -> int:
    """Remove the objects that are left of instances that were taken out; return how many objects went.

    Safe at any time, twice, and in several processes; nothing goes while a backup copies objects. What is filed again
    meanwhile stays: filing waits for the same rows. Raises `StorageUnavailable`, `DatabaseUnavailable`; what is left
    then goes at the next call.
    """
    count = 0
    while True:
        with database.session() as session:
            left = removed.objects_left(session, _AT_ONCE) if may_remove_objects(session) else {}
            if not left:
                return count
            for key in (key for keys in left.values() for key in keys):
                if not is_expected(session, key):
                    count += store.delete(key)
            removed.objects_gone(session, list(left))


def copy_dropper(database: Database, store: FileStore) -> Periodic:
    """Return what drops, every ten minutes, copies on this machine of objects that no row speaks of any more.

    Each process with a store runs one: who removes an object from a bucket does not reach what others have copied.
    """
    return Periodic("drop-copies", _COPIES_S, partial(drop_copies, database, store), immediately=True)


def drop_copies(database: Database, store: FileStore) -> int:
    """Drop such copies now; return how many. Raises `StorageUnavailable`, `DatabaseUnavailable`."""

    def known(keys: Collection[str]) -> set[str]:
        with database.session() as session:
            return spoken_of(session, keys)

    return store.drop_copies(known)
