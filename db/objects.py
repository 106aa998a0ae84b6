"""Which objects the tables speak of: what must lie on the disk, of current, hidden and other versions of instances."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, case, func, literal, select, union_all
from sqlalchemy.orm import Session

from db.tables import InstanceRow, InstanceVersionRow, RemovedInstanceRow
from regionmir.core.keeping import Kept

_AT_A_TIME = 5000
_HASH_IN_KEY = "[0-9a-f]{64}"


@dataclass(frozen=True, slots=True)
class ExpectedObject:
    """An object that a row speaks of."""

    storage_key: str
    sha256: str
    """Of its data set as it is stored."""
    size_bytes: int
    """Of its file."""
    sop_instance_uid: str
    current: bool
    """False: a version that was replaced or refused, or an instance that is hidden."""


def expected(session: Session) -> Iterator[ExpectedObject]:
    """Yield every object that a row speaks of, by storage key in the order of its bytes; read piece by piece."""
    hidden = RemovedInstanceRow
    parts = [
        select(
            row.storage_key, content.label("sha256"), row.size_bytes, row.sop_instance_uid, current.label("current")
        ).where(which)
        for row, content, current, which in (
            (InstanceRow, _content(InstanceRow), literal(True), InstanceRow.kept != Kept.NOTHING),
            (InstanceVersionRow, _content(InstanceVersionRow), literal(False), InstanceVersionRow.kept != Kept.NOTHING),
            (hidden, func.substring(hidden.storage_key, _HASH_IN_KEY), literal(False), hidden.storage_key != ""),
        )
    ]
    every = union_all(*parts).subquery()
    query = select(every).order_by(every.c.storage_key.collate("C"), every.c.current.desc())
    for line in session.execute(query, execution_options={"yield_per": _AT_A_TIME}).mappings():
        yield ExpectedObject(**line)


def is_expected(session: Session, storage_key: str) -> bool:
    """True where a row speaks of this object now."""
    return storage_key in spoken_of(session, [storage_key])


def spoken_of(session: Session, storage_keys: Collection[str]) -> set[str]:
    """Return those of the objects that a row speaks of now."""
    which: list[tuple[Any, ColumnElement[bool]]] = [
        (row.storage_key, row.kept != Kept.NOTHING) for row in (InstanceRow, InstanceVersionRow)
    ]
    which.append((RemovedInstanceRow.storage_key, RemovedInstanceRow.storage_key != ""))
    keys = list(storage_keys)
    return {found for key, stays in which for found in session.scalars(select(key).where(key.in_(keys), stays))}


def _content(row: type[InstanceRow] | type[InstanceVersionRow]) -> ColumnElement[str]:
    """Return the hash of what is stored: of a reduced copy, whose name it is, or of the object as received."""
    reduced = func.substring(row.storage_key, _HASH_IN_KEY)
    return case((row.kept == Kept.REDUCED, reduced), else_=row.sha256)
