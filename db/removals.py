"""Objects whose last row is gone: remembered in the transaction that took it away, removed from the disk later.

So a crash in between leaves no object that nobody speaks of, and a rollback removes none that somebody does.
"""

from collections.abc import Collection, Iterable

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.tables import ObjectRemovalRow


def ask(session: Session, storage_keys: Iterable[str]) -> None:
    """Let these objects be removed once no row speaks of them."""
    for key in dict.fromkeys(storage_keys):
        session.execute(insert(ObjectRemovalRow).values(storage_key=key).on_conflict_do_nothing())


def waiting(session: Session, *, after: str = "", limit: int = 1000) -> list[str]:
    """Return objects that wait to be removed, those behind the key `after`, in the order of their keys."""
    row = ObjectRemovalRow.storage_key
    return list(session.scalars(select(row).where(row > after).order_by(row).limit(limit)))


def done(session: Session, storage_keys: Collection[str]) -> None:
    """Forget these: their files are gone, or they are spoken of again."""
    session.execute(delete(ObjectRemovalRow).where(ObjectRemovalRow.storage_key.in_(list(storage_keys))))
