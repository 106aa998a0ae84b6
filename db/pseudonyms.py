"""Pseudonyms as rows: made in the transaction that files the original, looked up both ways, never deleted."""

from collections.abc import Collection, Mapping
from typing import Final

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.tables import PseudonymRow
from regionmir.core.errors import RegionMirError
from regionmir.core.identifiers import Uid
from regionmir.core.pseudonyms import Pseudonymizer

PATIENT: Final = "patient"
STUDY: Final = "study"
SERIES: Final = "series"
INSTANCE: Final = "instance"
"""Kinds. The original is `patient.key` for a patient and the UID for the others."""

_ATTEMPTS = 16
_ADD = insert(PseudonymRow).on_conflict_do_nothing()


def lookup(session: Session, kind: str, pseudonym: str) -> str | None:
    """Return the original behind `pseudonym` (a UID, or a patient's `key`), None if there is none."""
    row = PseudonymRow
    return session.scalar(select(row.original).where(row.kind == kind, row.pseudonym == pseudonym))


def for_originals(session: Session, kind: str, originals: Collection[str]) -> dict[str, str]:
    """Return the pseudonym of each original that has one."""
    if not originals:
        return {}
    row = PseudonymRow
    query = select(row.original, row.pseudonym).where(row.kind == kind, row.original.in_(list(originals)))
    return dict(session.execute(query).all())


def uid_for(session: Session, kind: str, uid: Uid, pseudonymizer: Pseudonymizer) -> Uid:
    """Return the pseudonym of a UID: the table's, or the one that it would get there."""
    found = for_originals(session, kind, [uid])
    return Uid(found[uid]) if uid in found else pseudonymizer.uid(kind, uid)


def ensure_patient(session: Session, key: str, pseudonymizer: Pseudonymizer) -> str:
    """Return the pseudonym of the patient with this `key`, made now if need be; two patients never share one."""
    for attempt in range(_ATTEMPTS):
        pseudonym = pseudonymizer.patient_id(key, attempt)
        values = _values(PATIENT, key, pseudonym, pseudonymizer)
        if session.scalar(_ADD.returning(PseudonymRow.kind), values) is not None:
            return pseudonym
        present = for_originals(session, PATIENT, [key])
        if present:
            return present[key]
    raise RegionMirError("no free pseudonym for a patient: the site key must be replaced")


def ensure_uids(session: Session, uids: Mapping[str, Uid], pseudonymizer: Pseudonymizer) -> None:
    """Make the pseudonyms of these UIDs (by kind) that are not there yet."""
    session.execute(
        _ADD, [_values(kind, uid, pseudonymizer.uid(kind, uid), pseudonymizer) for kind, uid in uids.items()]
    )


def _values(kind: str, original: str, pseudonym: str, pseudonymizer: Pseudonymizer) -> dict[str, object]:
    return {"kind": kind, "original": original, "pseudonym": pseudonym, "key_version": pseudonymizer.key_version}
