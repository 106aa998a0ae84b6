"""PACSs that we follow, and the studies that each of them has: found, imported, gone.

A study is hidden when the last PACS that had it has it no more, and shown again when one has it again.
"""

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db import audit, removal, visibility
from db.filing import clean
from db.removal import Removal
from db.removed import Why
from db.tables import PacsRow, PacsStudyRow, StudyRow
from regionmir.core.identifiers import Uid

MASS_SHARE: Final = 0.01
"""If more than this share of a PACS' studies disappears within a day, nothing more is hidden until someone agrees."""

FEW: Final = 5
"""So many may always disappear, unless all do: one percent of a small archive is no study at all."""

MAX_REASON = 200
_ROWS_AT_ONCE = 5000
_AGREED = "agreed to by an operator"


@dataclass(frozen=True, slots=True)
class Pacs:
    """One PACS; the fields are columns of table `pacs`."""

    name: str
    kind: str = "orthanc"
    url: str = ""
    username: str = ""
    password_file: str = ""
    ae_title: str = ""
    modalities: tuple[str, ...] = ()
    viewer_url: str = ""
    seq: int = 0
    uncounted: int = 0
    followed_at: dt.datetime | None = None
    compared_at: dt.datetime | None = None
    stopped: str = ""


@dataclass(frozen=True, slots=True)
class RemoteStudy:
    """A study of a PACS that is to be imported."""

    study_instance_uid: Uid
    remote_id: str
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Compared:
    """What a comparison with the full list of a PACS found. `stopped`: too many are gone, none was hidden."""

    known: int
    new: int
    gone: int
    hidden: int
    stopped: str = ""


def get(session: Session, name: str) -> Pacs | None:
    """Return the PACS of this name, None if there is none."""
    row = session.get(PacsRow, name)
    return None if row is None else _pacs(row)


def listing(session: Session) -> list[Pacs]:
    """Return all PACSs by name."""
    return [_pacs(row) for row in session.scalars(select(PacsRow).order_by(PacsRow.name))]


def upsert(session: Session, pacs: Pacs) -> None:
    """Register a PACS, or change how it is reached; what was found in it stays."""
    kept = ("seq", "uncounted", "followed_at", "compared_at", "stopped")
    values = {**asdict(pacs), "modalities": list(pacs.modalities)}
    statement = insert(PacsRow).values(values)
    changed = {name: statement.excluded[name] for name in values if name not in ("name", *kept)}
    session.execute(statement.on_conflict_do_update(index_elements=["name"], set_=changed))


def remove(session: Session, name: str) -> bool:
    """Forget a PACS and what was found in it; imported studies stay as they are. False if there was none."""
    statement = delete(PacsRow).where(PacsRow.name == name).returning(PacsRow.name)
    return session.scalar(statement) is not None


def followed(session: Session, name: str, seq: int) -> None:
    """Note up to which change the log of an Orthanc was read."""
    session.execute(update(PacsRow).where(PacsRow.name == name).values(seq=seq, followed_at=func.now()))


def counted(session: Session, name: str, count: int) -> None:
    """Note how many studies a PACS counted when it was compared."""
    values = {"uncounted": count - known(session, name)}
    session.execute(update(PacsRow).where(PacsRow.name == name).values(values))


def known(session: Session, name: str) -> int:
    """Return how many studies a PACS has as far as we know."""
    row = PacsStudyRow
    query = select(func.count()).select_from(row).where(row.pacs == name, row.state != "gone")
    return session.scalar(query) or 0


def found(session: Session, name: str, studies: Mapping[str, str]) -> int:
    """Note studies that a PACS has (Study Instance UID: its own identifier); return how many are to be imported.

    New ones, and those that were gone, wait to be imported; what was hidden because it was gone is shown again.
    """
    row = PacsStudyRow
    waiting = 0
    items = sorted(studies.items())
    for start in range(0, len(items), _ROWS_AT_ONCE):
        values = [
            {"pacs": name, "study_instance_uid": uid, "remote_id": remote, "state": "waiting", "reason": ""}
            for uid, remote in items[start : start + _ROWS_AT_ONCE]
        ]
        statement = insert(row).values(values)
        again = statement.on_conflict_do_update(
            index_elements=["pacs", "study_instance_uid"],
            set_={
                "remote_id": statement.excluded.remote_id,
                "state": "waiting",
                "reason": "",
                "attempts": 0,
                "next_try_at": func.now(),
                "changed_at": func.now(),
            },
            where=row.state == "gone",
        ).returning(row.study_instance_uid)
        added = list(session.scalars(again))
        visibility.show(session, added)
        waiting += len(added)
    return waiting


def changed(session: Session, name: str, study_instance_uid: str, remote_id: str) -> None:
    """Note that a study of a PACS is new or has new instances: it is imported (again)."""
    found(session, name, {study_instance_uid: remote_id})
    row = PacsStudyRow
    session.execute(
        update(row)
        .where(row.pacs == name, row.study_instance_uid == study_instance_uid, row.state.in_(("imported", "failed")))
        .values(state="waiting", reason="", attempts=0, next_try_at=func.now(), changed_at=func.now())
    )


def compare(
    session: Session, name: str, studies: Mapping[str, str], *, agreed: bool = False, deletes: bool = False
) -> Compared:
    """Take over the full list of a PACS' studies: add what is new, hide what is gone (or delete it).

    A mass disappearance hides nothing and stops the hiding of this PACS, until a comparison is `agreed` to.
    """
    row = PacsStudyRow
    before = set(session.scalars(select(row.study_instance_uid).where(row.pacs == name, row.state != "gone")).all())
    new = found(session, name, studies)
    gone = sorted(before - set(studies))
    hidden = _hide_gone(session, name, gone, agreed=agreed, deletes=deletes)
    stopped = hidden if isinstance(hidden, str) else ""
    session.execute(update(PacsRow).where(PacsRow.name == name).values(compared_at=func.now(), stopped=stopped))
    return Compared(len(before), new, len(gone), 0 if stopped else int(hidden), stopped)


def deleted(session: Session, name: str, remote_id: str, *, deletes: bool = False) -> int:
    """Hide (or delete) the study that an Orthanc has deleted, by its identifier there; return how many were hidden.

    Nothing is hidden where this PACS is stopped, or becomes so: too many have disappeared.
    """
    row = PacsStudyRow
    query = select(row.study_instance_uid).where(row.pacs == name, row.remote_id == remote_id, row.state != "gone")
    gone = list(session.scalars(query))
    pacs = get(session, name)
    if not gone or pacs is None or pacs.stopped:
        return 0
    hidden = _hide_gone(session, name, gone, agreed=False, deletes=deletes)
    if isinstance(hidden, str):
        session.execute(update(PacsRow).where(PacsRow.name == name).values(stopped=hidden))
        return 0
    return hidden


def gone(
    session: Session, name: str, study_instance_uids: Collection[str], *, agreed: bool = False, deletes: bool = False
) -> Compared:
    """Hide, or delete, these studies, which a PACS has no more; see `compare`."""
    before = known(session, name)
    hidden = _hide_gone(session, name, study_instance_uids, agreed=agreed, deletes=deletes)
    stopped = hidden if isinstance(hidden, str) else ""
    session.execute(update(PacsRow).where(PacsRow.name == name).values(stopped=stopped))
    return Compared(before, 0, len(study_instance_uids), 0 if stopped else int(hidden), stopped)


def take(session: Session, name: str, *, limit: int, for_s: float) -> list[RemoteStudy]:
    """Return studies that are to be imported now, the first found first; others do not get them for `for_s` seconds."""
    row = PacsStudyRow
    chosen = (
        select(row.study_instance_uid)
        .where(row.pacs == name, row.state == "waiting", row.next_try_at <= func.now())
        .order_by(row.next_try_at, row.study_instance_uid)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("chosen")
    )
    taken = (
        update(row)
        .where(row.pacs == name, row.study_instance_uid == chosen.c.study_instance_uid)
        .values(next_try_at=func.now() + dt.timedelta(seconds=for_s))
        .returning(row.study_instance_uid, row.remote_id, row.attempts)
    )
    return [RemoteStudy(Uid(uid), remote, attempts) for uid, remote, attempts in session.execute(taken)]


def give_back(session: Session, name: str, studies: Collection[RemoteStudy]) -> None:
    """Let studies that were taken and not tried be imported by anyone, at once."""
    row = PacsStudyRow
    uids = [study.study_instance_uid for study in studies]
    session.execute(
        update(row)
        .where(row.pacs == name, row.state == "waiting", row.study_instance_uid.in_(uids))
        .values(next_try_at=func.now())
    )


def imported(session: Session, name: str, study: RemoteStudy, instances: int) -> None:
    """Note that all that is wanted of a study is here."""
    values = {"state": "imported", "reason": "", "instances": instances}
    _set(session, name, study, **values)


def not_imported(session: Session, name: str, study: RemoteStudy, reason: str, *, retry_after_s: float | None) -> None:
    """Note that a study could not be imported: tried again after that time, or (None) never by itself."""
    again = retry_after_s is not None
    values: dict[str, Any] = {"state": "waiting" if again else "failed", "attempts": study.attempts + 1}
    if retry_after_s is not None:
        values["next_try_at"] = func.now() + dt.timedelta(seconds=retry_after_s)
    _set(session, name, study, reason=clean(reason)[:MAX_REASON], **values)


def retry_failed(session: Session, name: str) -> int:
    """Let what could not be imported be tried again at once; return how many."""
    row = PacsStudyRow
    statement = (
        update(row)
        .where(row.pacs == name, row.state.in_(("failed", "waiting")))
        .values(state="waiting", attempts=0, next_try_at=func.now())
    )
    return int(session.execute(statement).rowcount)  # type: ignore[attr-defined]


def counts(session: Session, name: str) -> dict[str, int]:
    """Return how many studies of a PACS are in each state, all of them named."""
    row = PacsStudyRow
    found_ = session.execute(select(row.state, func.count()).where(row.pacs == name).group_by(row.state))
    return {"waiting": 0, "imported": 0, "failed": 0, "gone": 0} | dict(found_.all())


def stopped(session: Session) -> dict[str, str]:
    """Return why PACSs hide nothing until someone agrees, by name."""
    return dict(session.execute(select(PacsRow.name, PacsRow.stopped).where(PacsRow.stopped != "")).all())


def links(session: Session, study_instance_uid: str) -> list[tuple[Pacs, str]]:
    """Return the PACSs that have a study, with their own identifiers of it."""
    row = PacsStudyRow
    query: Select[*tuple[Any, ...]] = (
        select(PacsRow, row.remote_id)
        .join(row, row.pacs == PacsRow.name)
        .where(row.study_instance_uid == study_instance_uid, row.state != "gone")
        .order_by(PacsRow.name)
    )
    return [(_pacs(pacs), remote) for pacs, remote in session.execute(query)]


def _hide_gone(session: Session, name: str, gone: Collection[str], *, agreed: bool, deletes: bool) -> int | str:
    """Mark studies of a PACS as gone and hide, or delete, those that no other has; return how many, or why none."""
    row = PacsStudyRow
    if not gone:
        return 0
    why = "" if agreed else _too_many(session, name, len(gone))
    if why:
        return why
    session.execute(
        update(row)
        .where(row.pacs == name, row.study_instance_uid.in_(list(gone)))
        .values(state="gone", reason=_AGREED if agreed else "", changed_at=func.now())
    )
    elsewhere = set(
        session.scalars(
            select(row.study_instance_uid).where(row.study_instance_uid.in_(list(gone)), row.state != "gone")
        ).all()
    )
    nowhere = [uid for uid in gone if uid not in elsewhere]
    if deletes:
        return _delete(session, name, nowhere)
    hidden = visibility.hide(session, nowhere, f"deleted in {name}")
    detail = {"pacs": name, "gone": len(gone), "hidden": hidden, "agreed": agreed}
    audit.record(session, "studies hidden", actor="pacs sync", address="", detail=detail)
    return hidden


def _delete(session: Session, name: str, study_instance_uids: Collection[str]) -> int:
    """Take studies out of the archive; return how many were here."""
    by = Removal(by="pacs sync", reason=f"deleted in {name}", why=Why.GONE)
    return removal.remove(session, StudyRow.study_instance_uid.in_(list(study_instance_uids)), by).studies


def _too_many(session: Session, name: str, gone: int) -> str:
    """Return why so many may not disappear without someone's consent; empty if they may."""
    row = PacsStudyRow
    lately = (row.state == "gone") & (row.reason != _AGREED) & (row.changed_at > func.now() - dt.timedelta(days=1))
    query = select(func.count().filter(row.state != "gone"), func.count().filter(lately)).where(row.pacs == name)
    there, before = session.execute(query).one()
    total, lost = there + before, gone + before
    few = lost <= max(FEW, MASS_SHARE * total)
    if few and (lost < total or total == 1):
        return ""
    return f"{lost} of {total} studies have disappeared within a day"


def _set(session: Session, name: str, study: RemoteStudy, **values: Any) -> None:
    row = PacsStudyRow
    session.execute(
        update(row)
        .where(row.pacs == name, row.study_instance_uid == study.study_instance_uid, row.state != "gone")
        .values(changed_at=func.now(), **values)
    )


def _pacs(row: PacsRow) -> Pacs:
    values = {field.name: getattr(row, field.name) for field in fields(Pacs)}
    return Pacs(**{**values, "modalities": tuple(row.modalities)})
