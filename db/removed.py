"""What was taken out of the archive: which instances, why, what is done when they come again, and what of it is left.

The row of an instance is also the lock that its filing and the removal of its objects take turns by: both hold it for
update, so that no object is removed that was filed again meanwhile.
"""

import datetime as dt
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Text, any_, cast, delete, func, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import Session

from db.tables import RemovedInstanceRow
from regionmir.core.errors import StorageUnavailable
from regionmir.core.identifiers import Uid
from regionmir.core.keeping import Kept
from regionmir.core.records import StoredObject


class Why(StrEnum):
    """Why an instance was taken out."""

    DELETED = "deleted"
    """By an operator."""
    GONE = "gone"
    """Its PACS has deleted it."""
    NOTE = "note"
    """It is itself a rejection note."""
    QUALITY = "quality"
    SAFETY = "safety"
    WORKLIST = "worklist"
    RETENTION = "retention"


class Again(StrEnum):
    """What is done with an instance that is sent again."""

    ACCEPT = "accept"
    HIDE = "hide"
    REFUSE = "refuse"


class Return(StrEnum):
    """What became of an instance that was sent again."""

    ACCEPTED = "accepted"
    HIDDEN = "hidden"
    REFUSED = "refused"
    DIFFERS = "differs"


@dataclass(frozen=True, slots=True)
class RemovedInstance:
    """One instance that was taken out; the fields are columns of table `removed_instance`."""

    sop_instance_uid: Uid
    study_instance_uid: Uid
    why: Why
    again: Again
    for_good: bool
    note_uid: str
    reason: str
    removed_by: str
    removed_at: dt.datetime
    transfer_syntax_uid: Uid
    storage_key: str
    kept: Kept
    content_sha256: str | None
    sha256: str
    size_bytes: int
    source_ae: str
    source_address: str
    called_ae: str

    @property
    def is_kept(self) -> bool:
        """Return whether its object is still here."""
        return self.storage_key != ""


_KEPT: Final = (
    "sop_class_uid", "transfer_syntax_uid", "storage_key", "sha256", "size_bytes",
    "source_ae", "source_address", "called_ae", "kept", "content_sha256",
)  # fmt: skip
"""Columns that tell of the object that is kept."""

_NOT_KEPT: Final = {"size_bytes": 0, "kept": Kept.OBJECT, "content_sha256": None}
"""Their values where none is, if not empty."""


def note(session: Session, rows: Collection[Mapping[str, Any]]) -> None:
    """Write down instances that were taken out, in place of what was known of them; objects still to go stay listed."""
    for values in rows:
        statement = insert(RemovedInstanceRow).values(**values)
        left = func.array_cat(RemovedInstanceRow.objects_left, statement.excluded.objects_left)
        changed: dict[str, Any] = {name: statement.excluded[name] for name in values if name != "sop_instance_uid"}
        changed |= {"objects_left": left, "removed_at": func.now()}
        session.execute(statement.on_conflict_do_update(index_elements=["sop_instance_uid"], set_=changed))


def get(session: Session, sop_instance_uid: str) -> RemovedInstance | None:
    """Return what is known of an instance that was taken out, None where it was not."""
    row = session.get(RemovedInstanceRow, sop_instance_uid)
    return None if row is None else _removed(row)


def listing(session: Session, *, limit: int | None = None) -> list[RemovedInstance]:
    """Return what was taken out, the newest first."""
    row = RemovedInstanceRow
    query = select(row).order_by(row.removed_at.desc(), row.sop_instance_uid).limit(limit)
    return [_removed(found) for found in session.scalars(query)]


def unwanted(session: Session, sop_instance_uids: Collection[str]) -> set[str]:
    """Return which of these instances we do not fetch ourselves: deleted or rejected, not only gone from their PACS."""
    row = RemovedInstanceRow
    query = select(row.sop_instance_uid).where(row.sop_instance_uid.in_(list(sop_instance_uids)), row.why != Why.GONE)
    return set(session.scalars(query))


def comes_again(
    session: Session,
    sop_instance_uid: str,
    stored: StoredObject,
    sender: Mapping[str, str],
    *,
    same_content: Callable[[str, str], bool],
    content_of: Callable[[str], str | None],
    is_stored: Callable[[str], bool],
) -> Return:
    """Say what becomes of an instance that was taken out and is here again, its object stored under `stored.key`.

    ACCEPTED: it is forgotten that it was taken out, and it is to be filed. HIDDEN: it is kept and shown to nobody.
    REFUSED, and DIFFERS from the one that is kept hidden: the new object will be removed. Raises `StorageUnavailable`
    where its object was removed while it was stored: it must be sent again.
    """
    row = _locked(session, sop_instance_uid)
    if row is None:
        return Return.ACCEPTED
    if row.again == Again.ACCEPT:
        return _accept(session, row, stored, is_stored)
    if row.again == Again.REFUSE:
        _leave(session, row, [stored.key])
        return Return.REFUSED
    if not row.storage_key:
        _adopt(row, stored, sender, is_stored)
        return Return.HIDDEN
    if stored.key == row.storage_key:
        return Return.HIDDEN
    if row.kept == Kept.REDUCED:
        return _replace_copy(session, row, stored, sender, content_of, is_stored)
    same = same_content(row.storage_key, stored.key)
    _leave(session, row, [stored.key])
    return Return.HIDDEN if same else Return.DIFFERS


def _replace_copy(
    session: Session,
    row: RemovedInstanceRow,
    stored: StoredObject,
    sender: Mapping[str, str],
    content_of: Callable[[str], str | None],
    is_stored: Callable[[str], bool],
) -> Return:
    """Keep the object itself, hidden, in the place of its reduced copy, if it is that of the copy."""
    same = (stored.sha256, stored.transfer_syntax_uid) == (row.sha256, row.transfer_syntax_uid)
    if not same and (row.content_sha256 is None or content_of(stored.key) != row.content_sha256):
        _leave(session, row, [stored.key])
        return Return.DIFFERS
    copy = row.storage_key
    _adopt(row, stored, sender, is_stored)
    _leave(session, row, [copy])
    return Return.HIDDEN


def show_again(session: Session, sop_instance_uid: str) -> RemovedInstance | None:
    """Let a hidden instance be accepted when its kept object is filed anew; None where nothing of it is kept."""
    row = _locked(session, sop_instance_uid)
    if row is None or not row.storage_key:
        return None
    row.again = Again.ACCEPT
    session.flush()
    return _removed(row)


def objects_left(session: Session, limit: int) -> dict[str, list[str]]:
    """Return objects that are still to be removed by SOP Instance UID, and hold these instances until the commit."""
    row = RemovedInstanceRow
    query = (
        select(row.sop_instance_uid, row.objects_left)
        .where(row.objects_left != cast([], ARRAY(Text)))
        .order_by(row.removed_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return {uid: list(keys) for uid, keys in session.execute(query)}


def objects_gone(session: Session, sop_instance_uids: Collection[str]) -> None:
    """Note that nothing of these instances is left to be removed."""
    row = RemovedInstanceRow
    session.execute(update(row).where(row.sop_instance_uid.in_(list(sop_instance_uids))).values(objects_left=[]))


def is_left(session: Session, storage_key: str) -> bool:
    """Return whether an object is still to be removed."""
    row = RemovedInstanceRow
    left = (row.objects_left != cast([], ARRAY(Text))) & (literal(storage_key) == any_(row.objects_left))
    return session.scalar(select(row.sop_instance_uid).where(left).limit(1)) is not None


def _locked(session: Session, sop_instance_uid: str) -> RemovedInstanceRow | None:
    row = RemovedInstanceRow
    query = select(row).where(row.sop_instance_uid == sop_instance_uid).with_for_update()
    return session.scalar(query.execution_options(populate_existing=True))


def _accept(
    session: Session, row: RemovedInstanceRow, stored: StoredObject, is_stored: Callable[[str], bool]
) -> Return:
    """Forget that the instance was taken out, but not which other objects of it are to be removed."""
    _check_stored(stored, is_stored)
    left = {*row.objects_left, *([row.storage_key] if row.storage_key else [])} - {stored.key}
    if left:
        _clear(row, sorted(left))
        session.flush()
    else:
        session.execute(delete(RemovedInstanceRow).where(RemovedInstanceRow.sop_instance_uid == row.sop_instance_uid))
        session.expunge(row)
    return Return.ACCEPTED


def _clear(row: RemovedInstanceRow, left: list[str]) -> None:
    for name in _KEPT:
        setattr(row, name, _NOT_KEPT.get(name, ""))
    row.objects_left = left


def _adopt(
    row: RemovedInstanceRow, stored: StoredObject, sender: Mapping[str, str], is_stored: Callable[[str], bool]
) -> None:
    """Keep, hidden, what was rejected before it came."""
    _check_stored(stored, is_stored)
    row.storage_key, row.sha256, row.size_bytes = stored.key, stored.sha256, stored.size_bytes
    row.transfer_syntax_uid, row.kept = stored.transfer_syntax_uid, Kept.OBJECT
    row.objects_left = [key for key in row.objects_left if key != stored.key]
    for name, value in sender.items():
        setattr(row, name, value)


def _check_stored(stored: StoredObject, is_stored: Callable[[str], bool]) -> None:
    if not is_stored(stored.key):
        raise StorageUnavailable("the object was being removed; send it again")


def _leave(session: Session, row: RemovedInstanceRow, keys: list[str]) -> None:
    row.objects_left = sorted({*row.objects_left, *keys} - {row.storage_key})
    session.flush()


def _removed(row: RemovedInstanceRow) -> RemovedInstance:
    values = {field.name: getattr(row, field.name) for field in fields(RemovedInstance)}
    return RemovedInstance(**{**values, "why": Why(row.why), "again": Again(row.again), "kept": Kept(row.kept)})
