"""Which objects the tables speak of: what must lie on the disk, of current, hidden and other versions of instances."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import literal, select, true, union_all
from sqlalchemy.orm import Session

from db.tables import InstanceRow, InstanceVersionRow, RemovedInstanceRow

_AT_A_TIME = 5000


@dataclass(frozen=True, slots=True)
class ExpectedObject:
    """An object that a row speaks of."""

    storage_key: str
    sha256: str
    """Of its data set."""
    size_bytes: int
    """Of its file."""
    sop_instance_uid: str
    current: bool
    """False: a version that was replaced or refused, or an instance that is hidden."""


def expected(session: Session) -> Iterator[ExpectedObject]:
    """Yield every object that a row speaks of, by storage key in the order of its bytes; read piece by piece."""
    hidden = RemovedInstanceRow
    parts = [
        select(row.storage_key, row.sha256, row.size_bytes, row.sop_instance_uid, current.label("current")).where(which)
        for row, current, which in (
            (InstanceRow, literal(True), true()),
            (InstanceVersionRow, literal(False), true()),
            (hidden, literal(False), hidden.storage_key != ""),
        )
    ]
    every = union_all(*parts).subquery()
    query = select(every).order_by(every.c.storage_key.collate("C"), every.c.current.desc())
    for line in session.execute(query, execution_options={"yield_per": _AT_A_TIME}).mappings():
        yield ExpectedObject(**line)


def is_expected(session: Session, storage_key: str) -> bool:
    """True where a row speaks of this object now."""
    keys = [row.storage_key for row in (InstanceRow, InstanceVersionRow, RemovedInstanceRow)]
    return any(session.scalar(select(key).where(key == storage_key).limit(1)) is not None for key in keys)
