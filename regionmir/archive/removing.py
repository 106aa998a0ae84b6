"""Removing from the disk what was taken out of the archive: after the commit, durably, and again after a crash."""

from db import removed
from db.engine import Database
from db.objects import is_expected
from db.snapshot import may_remove_objects
from regionmir.storage import FileStore

_AT_ONCE = 200


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
