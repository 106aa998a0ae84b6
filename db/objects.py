"""Which objects the tables speak of: what must lie on the disk, of current and of other versions of instances."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Label, case, func, literal, select, union_all
from sqlalchemy.orm import Session

from db.tables import InstanceRow, InstanceVersionRow
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
    """False: a version that was replaced or refused."""


def expected(session: Session) -> Iterator[ExpectedObject]:
    """Yield every object that a row speaks of, by storage key in the order of its bytes; read piece by piece."""
    parts = [
        select(row.storage_key, _content(row), row.size_bytes, row.sop_instance_uid, current.label("current")).where(
            row.kept != Kept.NOTHING
        )
        for row, current in ((InstanceRow, literal(True)), (InstanceVersionRow, literal(False)))
    ]
    every = union_all(*parts).subquery()
    query = select(every).order_by(every.c.storage_key.collate("C"), every.c.current.desc())
    for line in session.execute(query, execution_options={"yield_per": _AT_A_TIME}).mappings():
        yield ExpectedObject(**line)


def is_expected(session: Session, storage_key: str) -> bool:
    """True where a row speaks of this object now."""
    rows = (InstanceRow, InstanceVersionRow)
    return any(
        session.scalar(select(row.pk).where(row.storage_key == storage_key, row.kept != Kept.NOTHING).limit(1))
        is not None
        for row in rows
    )


def _content(row: type[InstanceRow] | type[InstanceVersionRow]) -> Label[str]:
    """Return the hash of what is stored: of a reduced copy, whose name it is, or of the object as received."""
    reduced = func.substring(row.storage_key, _HASH_IN_KEY)
    return case((row.kept == Kept.REDUCED, reduced), else_=row.sha256).label("sha256")
