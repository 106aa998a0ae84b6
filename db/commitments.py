"""Storage commitments that others ask us for, kept until they are reported."""

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.filing import clean
from db.tables import CommitmentRequestRow, InstanceRow, PeerRow, RemovedInstanceRow
from regionmir.core.identifiers import AETitle, Uid
from regionmir.core.keeping import Kept as ObjectKept
from regionmir.core.keeping import StoragePolicy

MAX_REASON = 200


@dataclass(frozen=True, slots=True)
class Wanted:
    """One commitment that is to be reported; `references`: SOP Class and Instance UIDs."""

    pk: int
    transaction_uid: Uid
    ae_title: AETitle
    identified: bool
    references: tuple[tuple[Uid, Uid], ...]
    attempts: int


@dataclass(frozen=True, slots=True)
class Kept:
    """An instance as it is kept now. `sha256` is of its data set as it was received."""

    sop_class_uid: Uid
    sha256: str
    storage_key: str
    source_ae: str
    for_good: bool
    """False where the object is not kept as it came, or will not be."""


def add(
    session: Session, transaction_uid: Uid, ae_title: AETitle, *, identified: bool, references: list[tuple[Uid, Uid]]
) -> None:
    """Note a request; one of the same transaction of the same AE is there once."""
    values = {
        "transaction_uid": transaction_uid,
        "ae_title": ae_title,
        "identified": identified,
        "references_wanted": [list(reference) for reference in references],
        "state": "waiting",
        "reason": "",
    }
    session.execute(insert(CommitmentRequestRow).values(values).on_conflict_do_nothing())


def take(session: Session, *, limit: int, for_s: float) -> list[Wanted]:
    """Return requests to be reported now, oldest first; others do not get them for `for_s` seconds."""
    row = CommitmentRequestRow
    chosen = (
        select(row.pk)
        .where(row.state == "waiting", row.next_try_at <= func.now())
        .order_by(row.pk)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("chosen")
    )
    taken = (
        update(row)
        .where(row.pk == chosen.c.pk)
        .values(attempts=row.attempts + 1, next_try_at=func.now() + dt.timedelta(seconds=for_s))
        .returning(row.pk, row.transaction_uid, row.ae_title, row.identified, row.references_wanted, row.attempts)
    )
    return [
        Wanted(
            pk,
            Uid(transaction),
            AETitle(title),
            identified,
            tuple((Uid(sop_class), Uid(sop)) for sop_class, sop in wanted),
            attempts,
        )
        for pk, transaction, title, identified, wanted, attempts in sorted(session.execute(taken).all())
    ]


def kept(session: Session, sop_instance_uids: list[str], default: StoragePolicy) -> dict[str, Kept]:
    """Return those of these instances that are kept, hidden or not, by SOP Instance UID.

    `default`: the policy of AEs that have none of their own.
    """
    policy = func.coalesce(PeerRow.storage, default.value) == StoragePolicy.KEEP
    found: dict[str, Kept] = {}
    for row in (RemovedInstanceRow, InstanceRow):
        columns = (row.sop_instance_uid, row.sop_class_uid, row.sha256, row.storage_key, row.source_ae)
        query = (
            select(*columns, (row.kept == ObjectKept.OBJECT) & policy)
            .outerjoin(PeerRow, PeerRow.ae_title == row.source_ae)
            .where(row.sop_instance_uid.in_(sop_instance_uids), row.storage_key != "")
        )
        for uid, sop_class, sha256, key, source, good in session.execute(query):
            found[uid] = Kept(Uid(sop_class), sha256, key, source, good)
    return found


def reported(session: Session, pk: int) -> None:
    """Note that the asker has the report."""
    _set(session, pk, state="reported", reason="")


def later(session: Session, pk: int, reason: str, after_s: float) -> None:
    """Let a report be tried again after that time."""
    _set(session, pk, reason=reason, next_try_at=func.now() + dt.timedelta(seconds=after_s))


def give_up(session: Session, pk: int, reason: str) -> None:
    """Note that the asker cannot be told."""
    _set(session, pk, state="dead", reason=reason)


def _set(session: Session, pk: int, **values: object) -> None:
    row = CommitmentRequestRow
    if "reason" in values:
        values["reason"] = clean(str(values["reason"]))[:MAX_REASON]
    session.execute(update(row).where(row.pk == pk).values(**values))
