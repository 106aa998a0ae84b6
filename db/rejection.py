"""Acting upon a rejection note: it and the instances that it names leave the answers, or the archive (IHE IOCM)."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from db import audit, removal, removed
from db.removal import Removal
from db.removed import Again, Why
from db.tables import InstanceRow, PatientRow, RemovedInstanceRow, SeriesRow, StudyRow
from regionmir.core.records import InstanceHeader
from regionmir.core.rejection import Reaction, RejectionNote

_CHUNK: Final = 10_000


@dataclass(frozen=True, slots=True)
class Rejected:
    """What a note did: how many instances it took out, how many it will when they come, and how many not, being
    another patient's."""

    now: int = 0
    later: int = 0
    foreign: int = 0


def reject(
    session: Session,
    note: RejectionNote,
    header: InstanceHeader,
    reaction: Reaction,
    *,
    source_ae: str,
    source_address: str,
) -> Rejected:
    """Do what a note says, which has just been filed under `header`; it is kept and hidden itself.

    Only instances of the note's own patient are touched. Those that are not here yet are hidden when they come, unless
    they are to be deleted. Doing it twice changes nothing more.
    """
    if reaction is Reaction.IGNORE:
        return Rejected()
    by = Removal(
        by=source_ae,
        address=source_address,
        is_ae=True,
        reason=note.title.meaning,
        why=Why(note.title.why),
        again=Again.ACCEPT if reaction is Reaction.DELETE else Again.HIDE,
        keep=reaction is not Reaction.DELETE,
        for_good=reaction is Reaction.HIDE_FOR_GOOD,
        note_uid=header.sop_instance_uid,
    )
    patient_pk = _patient_of(session, header.study_instance_uid)
    own = InstanceRow.sop_instance_uid == header.sop_instance_uid
    done = Rejected()
    for start in range(0, len(note.references), _CHUNK):
        part = note.references[start : start + _CHUNK]
        studies: dict[str, str] = {one.sop_instance_uid: one.study_instance_uid for one in part}
        studies.pop(header.sop_instance_uid, None)
        done = _reject_part(session, studies, patient_pk, by, done)
    removal.remove(session, own, replace(by, why=Why.NOTE, again=Again.HIDE, keep=True))
    if done.foreign:
        refused(session, header, f"{done.foreign} instances of another patient", source_ae, source_address)
    return done


def refused(session: Session, header: InstanceHeader, why: str, source_ae: str, source_address: str) -> None:
    """Record that a rejection note was not acted upon, or not wholly."""
    detail = {"note": header.sop_instance_uid, "why": why}
    audit.record(session, "rejection refused", actor=source_ae, address=source_address, detail=detail)


def _reject_part(
    session: Session, studies: dict[str, str], patient_pk: int | None, by: Removal, done: Rejected
) -> Rejected:
    """Return what was done before and for these instances, UID to Study Instance UID."""
    here = _here(session, studies)
    theirs = {uid for uid, (study, owner) in here.items() if owner == patient_pk and study == studies[uid]}
    extent = removal.remove(session, _among(theirs), by) if theirs else removal.Extent()
    missing = {uid: study for uid, study in studies.items() if uid not in here}
    later = _when_they_come(session, missing, patient_pk, by) if by.keep else 0
    return Rejected(done.now + extent.instances, done.later + later, done.foreign + len(here) - len(theirs))


def _among(uids: Collection[str]) -> ColumnElement[bool]:
    return InstanceRow.sop_instance_uid.in_(list(uids))


def _here(session: Session, uids: Collection[str]) -> dict[str, tuple[str, int]]:
    """Return of which study and whose these instances are, of those that are here."""
    query = (
        select(InstanceRow.sop_instance_uid, StudyRow.study_instance_uid, StudyRow.patient_pk)
        .join(SeriesRow, SeriesRow.pk == InstanceRow.series_pk)
        .join(StudyRow, StudyRow.pk == SeriesRow.study_pk)
        .where(_among(uids))
    )
    return {uid: (study, owner) for uid, study, owner in session.execute(query)}


def _when_they_come(session: Session, missing: dict[str, str], patient_pk: int | None, by: Removal) -> int:
    """Have instances that are not here hidden when they come; return of how many that is new."""
    others = _of_others(session, set(missing.values()), patient_pk)
    row = RemovedInstanceRow
    known = set(session.scalars(select(row.sop_instance_uid).where(row.sop_instance_uid.in_(list(missing)))))
    rows = [
        {"sop_instance_uid": uid, "study_instance_uid": study, **removal.verdict(by)}
        for uid, study in missing.items()
        if study not in others and uid not in known
    ]
    removed.note(session, rows)
    return len(rows)


def _of_others(session: Session, study_instance_uids: Collection[str], patient_pk: int | None) -> set[str]:
    row = StudyRow
    query = select(row.study_instance_uid).where(row.study_instance_uid.in_(list(study_instance_uids)))
    return set(session.scalars(query.where(row.patient_pk != patient_pk)))


def _patient_of(session: Session, study_instance_uid: str) -> int | None:
    query = select(PatientRow.pk).join(StudyRow, StudyRow.patient_pk == PatientRow.pk)
    return session.scalar(query.where(StudyRow.study_instance_uid == study_instance_uid))
