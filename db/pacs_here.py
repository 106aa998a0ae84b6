"""What is here of the studies of one PACS: to be compared with what it has."""

import datetime as dt
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db import removal
from db.pacs import FEW, MASS_SHARE, Pacs
from db.removal import Removal
from db.removed import Why
from db.tables import InstanceRow, PacsStudyRow, PatientRow, RemovedInstanceRow, SeriesRow, StudyRow

_CHUNK: Final = 5000


@dataclass(frozen=True, slots=True)
class StudyHere:
    """A study that is here: whose, and which of its instances came from the PACS, and which not."""

    patient_id: str
    former_ids: frozenset[str]
    """PatientIDs that its objects came under, where that was corrected."""
    from_pacs: frozenset[str]
    others: frozenset[str]


def studies(session: Session, pacs: Pacs, study_instance_uids: Collection[str]) -> dict[str, StudyHere]:
    """Return those of these studies that are here, hidden or not, by UID."""
    found: dict[str, StudyHere] = {}
    wanted = sorted(study_instance_uids)
    for start in range(0, len(wanted), _CHUNK):
        found |= _studies(session, pacs, wanted[start : start + _CHUNK])
    return found


def removed_of(session: Session, study_instance_uids: Collection[str]) -> set[str]:
    """Return of which of these studies something was deleted or rejected here."""
    row = RemovedInstanceRow
    query = select(row.study_instance_uid).where(
        row.study_instance_uid.in_(list(study_instance_uids)), row.why != Why.GONE
    )
    return set(session.scalars(query.distinct()))


def known(session: Session, name: str, first: dt.date | None = None, last: dt.date | None = None) -> set[str]:
    """Return the studies that a PACS had when we looked last; of a range of dates, those that are here."""
    row = PacsStudyRow
    query = select(row.study_instance_uid).where(row.pacs == name, row.state != "gone")
    if first is not None and last is not None:
        query = query.join(StudyRow, StudyRow.study_instance_uid == row.study_instance_uid)
        query = query.where(StudyRow.study_date.between(first, last))
    return set(session.scalars(query))


def dates(session: Session, name: str) -> tuple[dt.date, dt.date] | None:
    """Return the first and last study date of what is here of a PACS, None where nothing with a date is."""
    row = PacsStudyRow
    query = (
        select(func.min(StudyRow.study_date), func.max(StudyRow.study_date))
        .join(row, row.study_instance_uid == StudyRow.study_instance_uid)
        .where(row.pacs == name, row.state != "gone")
    )
    first, last = session.execute(query).one()
    return None if first is None or last is None else (first, last)


def instances_gone(
    session: Session, pacs: Pacs, sop_instance_uids: Collection[str], *, agreed: bool, deletes: bool
) -> int | str:
    """Hide, or delete, instances that a PACS has no more of studies that it has; return how many, or why none."""
    row = InstanceRow
    total = session.scalar(select(func.count()).select_from(row).where(row.source_ae.in_(_sources(pacs)))) or 0
    if not agreed and len(sop_instance_uids) > max(FEW, MASS_SHARE * total):
        return f"{len(sop_instance_uids)} of {total} instances have disappeared"
    by = Removal(by="pacs sync", reason=f"deleted in {pacs.name}", why=Why.GONE, keep=not deletes)
    return removal.remove(session, row.sop_instance_uid.in_(list(sop_instance_uids)), by).instances


def _studies(session: Session, pacs: Pacs, uids: list[str]) -> dict[str, StudyHere]:
    query: Any = (
        select(
            StudyRow.study_instance_uid,
            PatientRow.patient_id,
            StudyRow.known_as,
            InstanceRow.sop_instance_uid,
            InstanceRow.source_ae,
        )
        .join(PatientRow, PatientRow.pk == StudyRow.patient_pk)
        .join(SeriesRow, SeriesRow.study_pk == StudyRow.pk)
        .join(InstanceRow, InstanceRow.series_pk == SeriesRow.pk)
        .where(StudyRow.study_instance_uid.in_(uids))
    )
    whose: dict[str, tuple[str, frozenset[str]]] = {}
    sides: dict[bool, dict[str, set[str]]] = {True: defaultdict(set), False: defaultdict(set)}
    for study, patient_id, known_as, sop, source in session.execute(query):
        whose[study] = patient_id, frozenset(key.split("\x1f")[0] for key in known_as)
        sides[source in _sources(pacs)][study].add(sop)
    return {
        uid: StudyHere(patient_id, former, frozenset(sides[True][uid]), frozenset(sides[False][uid]))
        for uid, (patient_id, former) in whose.items()
    }


def _sources(pacs: Pacs) -> list[str]:
    """Return the AE titles under which instances of a PACS are filed."""
    return [title for title in (pacs.ae_title, pacs.name) if title]
