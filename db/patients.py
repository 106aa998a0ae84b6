"""Patients put right: two that are one are merged, wrong values corrected, a study moved to whom it is of.

Rows move; objects stay as they came and leave with the patient's values (`regionmir.archive.correction`). What was
sent under the old values is still known under them (`study.known_as`), and what is sent under a merged patient's ID
from now on is filed under the one that it was merged into.
"""

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Select, all_, any_, delete, func, literal, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db import audit, pseudonyms, regions
from db.filing import PatientIdentity, bounded, clean
from db.tables import (
    InstanceRow,
    MergedPatientRow,
    PatientRow,
    PseudonymRow,
    SeriesRow,
    StudyRow,
    UploadedFilmRow,
)
from regionmir.core.audit_events import Endpoint, Study, instances_accessed
from regionmir.core.audit_message import Action
from regionmir.core.errors import RegionMirError
from regionmir.core.pseudonyms import Pseudonymizer
from regionmir.core.records import PatientValues

_SEPARATOR: Final = "\x1f"

TAGS: Final = {
    "name": ("00100010", "PN"),
    "patient_id": ("00100020", "LO"),
    "issuer": ("00100021", "LO"),
    "birth_date": ("00100030", "DA"),
    "sex": ("00100040", "CS"),
}
"""Attributes that can be corrected, with their value representations."""


@dataclass(frozen=True, slots=True)
class KnownPatient:
    """One patient with what is here of them."""

    pk: int
    key: str
    """`original` of this patient in table `pseudonym`."""
    values: PatientValues
    studies: int


@dataclass(frozen=True, slots=True)
class Changes:
    """New values of a patient; None leaves a value as it is."""

    patient_id: str | None = None
    issuer: str | None = None
    name: str | None = None
    birth_date: dt.date | None = None
    sex: str | None = None


@dataclass(frozen=True, slots=True)
class PutRight:
    """What a merge, a correction or a move changed."""

    studies: int
    instances: int
    patient_pseudonym: str
    """Of the patient whose they are now."""


@dataclass(frozen=True, slots=True)
class By:
    """Who puts a patient right, and why."""

    actor: str
    reason: str
    address: str = ""


def find(session: Session, patient_id: str, issuer: str | None = None) -> list[KnownPatient]:
    """Return the patients with this PatientID, of this issuer where one is told."""
    row = PatientRow
    query = select(row).where(row.patient_id == bounded(clean(patient_id).strip(" ")), row.patient_id != "")
    if issuer is not None:
        query = query.where(row.issuer == bounded(clean(issuer).strip(" ")))
    return [_known(session, patient) for patient in session.scalars(query.order_by(row.pk))]


def who_may_be(session: Session, who: PatientIdentity) -> list[int]:
    """Return the patients who may be this one: the same PatientID, issuers that do not contradict."""
    if not who.patient_id:
        return []
    row = PatientRow
    query = select(row.pk).where(row.patient_id == who.patient_id)
    return list(session.scalars(query.where(row.issuer.in_([who.issuer, ""])) if who.issuer else query))


def same_person(session: Session, pk: int) -> tuple[int, ...]:
    """Return this patient and those who may be the same one."""
    row = PatientRow
    found = session.execute(select(row.patient_id, row.issuer).where(row.pk == pk)).first()
    others = who_may_be(session, PatientIdentity(*found, "")) if found else []
    return tuple({pk, *others})


def of_study(session: Session, study_instance_uid: str) -> KnownPatient | None:
    """Return whose study this is, None where it is not here."""
    row = PatientRow
    query = select(row).join(StudyRow, StudyRow.patient_pk == row.pk)
    found = session.scalar(query.where(StudyRow.study_instance_uid == study_instance_uid))
    return None if found is None else _known(session, found)


def merged_into(session: Session, key: str) -> PatientIdentity | None:
    """Return who the patient of this `key` is since a merge, None where they are themselves."""
    row = MergedPatientRow
    into = session.scalar(select(row.into_key).where(row.key == key))
    return None if into is None else PatientIdentity(*into.split(_SEPARATOR))


def merge(session: Session, old_pk: int, new_pk: int, by: By) -> PutRight:
    """Make the studies of one patient another's, who is the same person; the first is no patient any more."""
    old, new = _locked(session, [old_pk, new_pk])
    studies = _studies_of(session, old)
    changed = _move(session, studies, old, new)
    row = MergedPatientRow
    session.execute(update(row).where(row.into_key == old.key).values(into_key=new.key))
    session.execute(delete(row).where(row.key == new.key))
    alias = insert(row).values(key=old.key, into_key=new.key)
    session.execute(alias.on_conflict_do_update(index_elements=["key"], set_={"into_key": new.key}))
    films = UploadedFilmRow
    replaced = func.array_replace(films.patient_pks, old.pk, new.pk)
    session.execute(update(films).where(literal(old.pk) == any_(films.patient_pks)).values(patient_pks=replaced))
    session.execute(delete(PatientRow).where(PatientRow.pk == old.pk))
    _audit(session, "patients merged", by, studies, {old.patient_id, new.patient_id}, changed)
    return changed


def move(session: Session, study_instance_uid: str, to_pk: int, by: By) -> PutRight:
    """Make one study another patient's. Raises `RegionMirError` where it is not here, or is this patient's."""
    owner = of_study(session, study_instance_uid)
    if owner is None:
        raise RegionMirError(f"no study has the UID {study_instance_uid}")
    if owner.pk == to_pk:
        raise RegionMirError("the study is this patient's already")
    old, new = _locked(session, [owner.pk, to_pk])
    study = StudyRow
    query = select(study.pk, study.study_instance_uid).where(study.study_instance_uid == study_instance_uid)
    studies = dict(session.execute(query.with_for_update()).all())
    changed = _move(session, studies, old, new)
    of_old = select(study.pk).where(study.patient_pk == old.pk)
    session.execute(delete(PatientRow).where(PatientRow.pk == old.pk, ~of_old.exists()))
    _audit(session, "study moved", by, studies, {old.patient_id, new.patient_id}, changed)
    return changed


def correct(session: Session, pk: int, changes: Changes, by: By) -> PutRight:
    """Change what a patient is called. With another PatientID or issuer they keep their pseudonym.

    Raises `RegionMirError` where another patient has the new PatientID: then it is a merge.
    """
    (row,) = _locked(session, [pk])
    before = PatientIdentity(row.patient_id, row.issuer, row.anonymous_key)
    after = _identity_after(before, changes)
    studies = _studies_of(session, row)
    if after != before:
        _check_free(session, after)
        _carry_pseudonym(session, before.key, after.key)
        merged = MergedPatientRow
        session.execute(update(merged).where(merged.into_key == before.key).values(into_key=after.key))
        _know_as(session, studies, before.key)
    values = _columns(row, after, changes)
    regions.wait_for_writers(session, studies)
    session.execute(update(PatientRow).where(PatientRow.pk == pk).values(**values, corrected_at=func.now()))
    regions.refresh_filters(session, studies)
    session.expire_all()
    changed = _put_right(session, studies, after.key)
    _audit(session, "patient corrected", by, studies, {before.patient_id, after.patient_id}, changed)
    return changed


def add(session: Session, patient_id: str, issuer: str, name: str, pseudonymizer: Pseudonymizer) -> int:
    """File a patient of whom nothing is here yet, and return their key: a study is to be moved to them."""
    who = PatientIdentity(bounded(clean(patient_id).strip(" ")), bounded(clean(issuer).strip(" ")), "")
    _check_free(session, who)
    values = {
        "patient_id": who.patient_id,
        "issuer": who.issuer,
        "anonymous_key": "",
        "name": clean(name),
        "sex": "",
        "date_shift_days": pseudonymizer.date_shift_days(who.key),
        "attributes": _attributes({}, {"patient_id": who.patient_id, "issuer": who.issuer, "name": name}),
        "corrected_at": func.now(),
    }
    pseudonyms.ensure_patient(session, who.key, pseudonymizer)
    return session.scalars(insert(PatientRow).values(values).returning(PatientRow.pk)).one()


def _locked(session: Session, pks: list[int]) -> list[PatientRow]:
    """Return these patients in the order asked, held until we commit."""
    query = select(PatientRow).where(PatientRow.pk.in_(pks)).order_by(PatientRow.pk).with_for_update()
    found = {row.pk: row for row in session.scalars(query.execution_options(populate_existing=True))}
    if len(found) < len(set(pks)):
        raise RegionMirError("the patient was changed meanwhile: look again")
    return [found[pk] for pk in pks]


def _studies_of(session: Session, patient: PatientRow) -> dict[int, str]:
    """Return the studies of a patient (key: UID), held until we commit."""
    row = StudyRow
    query = select(row.pk, row.study_instance_uid).where(row.patient_pk == patient.pk).order_by(row.pk)
    return dict(session.execute(query.with_for_update()).all())


def _move(session: Session, studies: dict[int, str], old: PatientRow, new: PatientRow) -> PutRight:
    """Make studies another patient's, in answers and filters too."""
    regions.wait_for_writers(session, studies)
    _separate(session, list(studies), new.pk)
    _know_as(session, studies, old.key)
    session.execute(update(StudyRow).where(StudyRow.pk.in_(studies)).values(patient_pk=new.pk))
    regions.refresh_filters(session, studies)
    return _put_right(session, studies, new.key)


def _separate(session: Session, study_pks: list[int], patient_pk: int) -> None:
    """Take hits out of kept answers that are of the same patient as what was asked for, now that this is known."""
    session.execute(_SEPARATE, {"moved": study_pks, "patient": patient_pk})


_SEPARATE: Final = text(
    "WITH side AS (SELECT i.pk, s.pk = ANY (:moved) AS moved FROM instance i "
    "JOIN series e ON e.pk = i.series_pk JOIN study s ON s.pk = e.study_pk "
    "WHERE s.pk = ANY (:moved) OR s.patient_pk = :patient) "
    "UPDATE result_set r SET hits = (SELECT coalesce(jsonb_agg(hit ORDER BY place), '[]'::jsonb) "
    "FROM jsonb_array_elements(r.hits) WITH ORDINALITY AS each(hit, place) WHERE NOT EXISTS "
    "(SELECT FROM side o WHERE o.pk = (hit ->> 'instance_pk')::bigint AND o.moved <> a.moved)) "
    "FROM side a WHERE a.pk = r.anchor_instance_pk AND EXISTS (SELECT FROM jsonb_array_elements(r.hits) AS one "
    "JOIN side o ON o.pk = (one ->> 'instance_pk')::bigint AND o.moved <> a.moved)"
)


def _know_as(session: Session, study_pks: Collection[int], key: str) -> None:
    row = StudyRow
    session.execute(
        update(row)
        .where(row.pk.in_(study_pks), literal(key) != all_(row.known_as))
        .values(known_as=func.array_append(row.known_as, key))
    )


def _identity_after(before: PatientIdentity, changes: Changes) -> PatientIdentity:
    """Return whose the studies are after the changes. Raises `RegionMirError` where there is no PatientID."""
    patient_id = before.patient_id if changes.patient_id is None else bounded(clean(changes.patient_id).strip(" "))
    issuer = before.issuer if changes.issuer is None else bounded(clean(changes.issuer).strip(" "))
    if not patient_id:
        raise RegionMirError("a patient without PatientID cannot be corrected: move the study to a patient")
    return PatientIdentity(patient_id, issuer, "")


def _check_free(session: Session, who: PatientIdentity) -> None:
    if session.scalar(select(PatientRow.pk).where(PatientRow.key == who.key)) is not None:
        raise RegionMirError("another patient has this PatientID: `regionmir patient merge` makes the two one")
    if merged_into(session, who.key) is not None:
        raise RegionMirError("a patient with this PatientID was merged into another one: use that one's")


def _carry_pseudonym(session: Session, before: str, after: str) -> None:
    """Let the patient keep their pseudonym under the new key; where that had one before, this is theirs."""
    if pseudonyms.for_originals(session, pseudonyms.PATIENT, [after]):
        return
    row = PseudonymRow
    session.execute(update(row).where(row.kind == pseudonyms.PATIENT, row.original == before).values(original=after))


def _columns(row: PatientRow, who: PatientIdentity, changes: Changes) -> dict[str, Any]:
    """Return the columns of a corrected patient."""
    values: dict[str, Any] = {"patient_id": who.patient_id, "issuer": who.issuer, "anonymous_key": who.anonymous_key}
    values["name"] = row.name if changes.name is None else clean(changes.name).strip(" ")
    values["birth_date"] = changes.birth_date or row.birth_date
    values["sex"] = row.sex if changes.sex is None else changes.sex
    return {**values, "attributes": _attributes(row.attributes, values)}


def _attributes(before: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return attributes in the DICOM JSON model with these values in them."""
    found = dict(before)
    for name, (tag, vr) in TAGS.items():
        value = values.get(name)
        if isinstance(value, dt.date):
            value = f"{value:%Y%m%d}"
        if not value:
            found.pop(tag, None)
            continue
        found[tag] = {"vr": vr, "Value": [_person(value) if vr == "PN" else value]}
    return found


def _person(name: str) -> dict[str, str]:
    """Return a person's name in the DICOM JSON model (PS3.18 F.2.2)."""
    groups = zip(("Alphabetic", "Ideographic", "Phonetic"), name.split("="), strict=False)
    return {group: value for group, value in groups if value}


def _known(session: Session, row: PatientRow) -> KnownPatient:
    count = select(func.count()).select_from(StudyRow).where(StudyRow.patient_pk == row.pk)
    values = PatientValues(row.patient_id, row.issuer, row.name, row.birth_date, row.sex)
    return KnownPatient(row.pk, row.key, values, session.scalar(count) or 0)


def _put_right(session: Session, studies: Collection[int], key: str) -> PutRight:
    count: Select[Any] = select(func.count()).select_from(InstanceRow)
    instances = session.scalar(count.join(SeriesRow).where(SeriesRow.study_pk.in_(studies))) or 0
    pseudonym = pseudonyms.for_originals(session, pseudonyms.PATIENT, [key]).get(key, "")
    return PutRight(len(studies), instances, pseudonym)


def _audit(
    session: Session, kind: str, by: By, studies: dict[int, str], patient_ids: set[str], changed: PutRight
) -> None:
    """Record the change once for each PatientID that it concerns, as instances that were updated."""
    detail = {"reason": by.reason[:500], "studies": sorted(studies.values())[:100], "instances": changed.instances}
    for patient_id in sorted(patient_ids):
        told = [Study(uid) for uid in studies.values()]
        message = instances_accessed(Endpoint(by.actor, by.address, is_ae=False), patient_id, told, Action.UPDATE)
        audit.record(session, kind, actor=by.actor, address=by.address, detail=detail, message=message)
