"""Taking instances out of the archive: they, and all that was made of them, are in no table when this commits.

Deleted, rejected, or gone from their PACS: it is one way. Objects are removed from the disk after the commit
(`regionmir.archive.removing`); until then the rows of `db.removed` name them. Rows are locked from the study down,
as filing does, so that nothing arrives into what is being taken out.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Select, delete, func, literal, or_, select, text, update
from sqlalchemy.orm import Session

from db import audit, deliveries, regions, removed
from db.filing import clean
from db.removed import Again, Why
from db.tables import (
    DeliveryRow,
    DrawnBoxRow,
    ExplanationRow,
    FindingRow,
    InstanceRow,
    InstanceVersionRow,
    PatientRow,
    RelevanceFeedbackRow,
    ResultSetRow,
    SeriesRow,
    StudyReleaseRow,
    StudyResultsRow,
    StudyRow,
    WantedAnswerRow,
)
from regionmir.core.audit_events import Endpoint, Study, instances_accessed, study_deleted
from regionmir.core.audit_message import Action
from regionmir.core.keeping import Kept

Level = Literal["instance", "study", "patient"]
Which = ColumnElement[bool]
"""A condition on joined instances, series, studies and patients."""

MAX_REASON: Final = 500


@dataclass(frozen=True, slots=True)
class Removal:
    """Who takes instances out and why. `keep`: their objects stay on the disk, so that they are only hidden."""

    by: str
    reason: str
    why: Why = Why.DELETED
    again: Again = Again.ACCEPT
    keep: bool = False
    for_good: bool = False
    note_uid: str = ""
    address: str = ""
    is_ae: bool = False
    """`by` is an AE title, not a person or a program."""


@dataclass(frozen=True, slots=True)
class Extent:
    """What is taken out: how much, and of which studies and patients nothing is left."""

    instances: int = 0
    studies: int = 0
    patients: int = 0
    objects: int = 0
    """Objects on the disk, of all versions."""
    bytes: int = 0
    answers: int = 0
    """Kept answers that started from one of the instances; in others only the hits are taken out."""
    deliveries: int = 0


@dataclass(frozen=True, slots=True)
class _Doomed:
    """One instance that is taken out, with its parents and its other versions."""

    row: InstanceRow
    series_pk: int
    study_pk: int
    study_instance_uid: str
    patient_pk: int
    patient_id: str
    versions: list[InstanceVersionRow] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Bare:
    """A study that has no instances; it is taken out where it is named itself."""

    study_pk: int
    study_instance_uid: str
    patient_pk: int
    patient_id: str


def named(level: Level, original: str) -> Which:
    """Return the condition on joined instances that they are, or are of, what has this UID or `patient.key`."""
    if level == "instance":
        return InstanceRow.sop_instance_uid == original
    if level == "study":
        return StudyRow.study_instance_uid == original
    return PatientRow.key == original


def measure(session: Session, which: Which) -> Extent:
    """Return what `remove` would take out now."""
    return _extent(session, _doomed(session, which, lock=False), _bare(session, which))


def remove(session: Session, which: Which, removal: Removal) -> Extent:
    """Take out the instances that fulfil `which` (on instance, series, study and patient), and audit it.

    Studies that have no instances go with them, where what is known of them fulfils `which`. Commit, then have the
    objects removed. What others do with these instances now fails or does nothing.
    """
    doomed, bare = _doomed(session, which, lock=True), _bare(session, which)
    if not doomed and not bare:
        return Extent()
    extent = _extent(session, doomed, bare)
    pks = [one.row.pk for one in doomed]
    _forget_made(session, pks)
    removed.note(session, [_tombstone(one, removal) for one in doomed])
    if removal.keep:
        versions = InstanceVersionRow
        session.execute(update(versions).where(versions.instance_pk.in_(pks)).values(instance_pk=None))
    session.execute(_FORGET_REMOVED, {"uids": [one.row.sop_instance_uid for one in doomed]})
    gone: list[_Doomed | _Bare] = [*doomed, *bare]
    emptied = forget_emptied(session, {one.study_pk for one in gone}, {one.patient_pk for one in gone})
    if not removal.keep:
        _forget_refused(session, list(emptied.values()), removal)
    _audit(session, doomed, emptied, removal)
    _audit_bare(session, bare, removal)
    session.expire_all()
    return extent


def _joined() -> Any:
    return (
        select(
            InstanceRow,
            SeriesRow.pk,
            StudyRow.pk,
            StudyRow.study_instance_uid,
            PatientRow.pk,
            PatientRow.patient_id,
        )
        .join(SeriesRow, SeriesRow.pk == InstanceRow.series_pk)
        .join(StudyRow, StudyRow.pk == SeriesRow.study_pk)
        .join(PatientRow, PatientRow.pk == StudyRow.patient_pk)
        .order_by(InstanceRow.pk)
        .execution_options(populate_existing=True)
    )


def _doomed(session: Session, which: Which, *, lock: bool) -> list[_Doomed]:
    """Return the instances that fulfil `which`; locked, they are what no other transaction is at."""
    if lock:
        _lock_studies(session, which)
    query = _joined().where(which)
    found = session.execute(query.with_for_update(of=InstanceRow) if lock else query).all()
    doomed = {one[0].sop_instance_uid: _Doomed(*one) for one in found}
    versions = select(InstanceVersionRow).where(InstanceVersionRow.sop_instance_uid.in_(list(doomed)))
    for version in session.scalars(versions):
        doomed[version.sop_instance_uid].versions.append(version)
    return list(doomed.values())


def _lock_studies(session: Session, which: Which) -> None:
    """Wait until nothing is being filed in the studies that this concerns, and let nothing be until we commit."""
    concerned = StudyRow.pk.in_(_studies(which))
    session.execute(select(StudyRow.pk).where(concerned).order_by(StudyRow.pk).with_for_update())


def _studies(which: Which) -> Select[int]:
    return (
        select(StudyRow.pk)
        .join(PatientRow, PatientRow.pk == StudyRow.patient_pk)
        .outerjoin(SeriesRow, SeriesRow.study_pk == StudyRow.pk)
        .outerjoin(InstanceRow, InstanceRow.series_pk == SeriesRow.pk)
        .where(which)
    )


def _bare(session: Session, which: Which) -> list[_Bare]:
    query = (
        select(StudyRow.pk, StudyRow.study_instance_uid, PatientRow.pk, PatientRow.patient_id)
        .join(PatientRow, PatientRow.pk == StudyRow.patient_pk)
        .where(StudyRow.pk.in_(_studies(which)), _has_no_instances())
    )
    return [_Bare(*one) for one in session.execute(query)]


def _has_no_instances() -> ColumnElement[bool]:
    filed = select(literal(1)).select_from(SeriesRow).join(InstanceRow, InstanceRow.series_pk == SeriesRow.pk)
    return ~filed.where(SeriesRow.study_pk == StudyRow.pk).correlate(StudyRow).exists()


def _extent(session: Session, doomed: Sequence[_Doomed], bare: Sequence[_Bare]) -> Extent:
    pks = [one.row.pk for one in doomed]
    gone: list[_Doomed | _Bare] = [*doomed, *bare]
    objects = {one.row.storage_key: one.row.size_bytes for one in doomed}
    objects |= {version.storage_key: version.size_bytes for one in doomed for version in one.versions}
    return Extent(
        instances=len(doomed),
        studies=len({one.study_pk for one in gone}),
        patients=len({one.patient_pk for one in gone}),
        objects=len(objects),
        bytes=sum(objects.values()),
        answers=_count(session, ResultSetRow, ResultSetRow.anchor_instance_pk.in_(pks)),
        deliveries=_count(session, DeliveryRow, DeliveryRow.instance_pk.in_(pks)),
    )


def _count(session: Session, row: Any, which: Which) -> int:
    return session.scalar(select(func.count()).select_from(row).where(which)) or 0


def _tombstone(one: _Doomed, removal: Removal) -> dict[str, Any]:
    """Return the row of `removed_instance` for an instance."""
    row = one.row
    kept_versions = [version.storage_key for version in one.versions if version.kept != Kept.NOTHING]
    left = set(kept_versions) if not removal.keep else set()
    kept: dict[str, Any] = {"storage_key": "", "sha256": "", "size_bytes": 0, "kept": Kept.OBJECT}
    if row.kept != Kept.NOTHING and removal.keep:
        kept = {name: getattr(row, name) for name in kept}
    elif row.kept != Kept.NOTHING:
        left.add(row.storage_key)
    return {
        "sop_instance_uid": row.sop_instance_uid,
        "study_instance_uid": one.study_instance_uid,
        **verdict(removal),
        "sop_class_uid": row.sop_class_uid,
        "transfer_syntax_uid": row.transfer_syntax_uid,
        "source_ae": row.source_ae,
        "source_address": row.source_address,
        "called_ae": row.called_ae,
        **kept,
        "content_sha256": row.content_sha256,
        "objects_left": sorted(left),
    }


def verdict(removal: Removal) -> dict[str, Any]:
    """Return what a row of `removed_instance` says of the removal itself."""
    return {
        "why": removal.why.value,
        "again": removal.again.value,
        "for_good": removal.for_good,
        "note_uid": removal.note_uid,
        "reason": clean(removal.reason)[:MAX_REASON],
        "removed_by": clean(removal.by),
    }


def _forget_made(session: Session, pks: Collection[int]) -> None:
    """Take out all that was made of these instances: regions, maps, boxes, opinions, answers, what waits to be sent."""
    regions.drop(session, list(pks))
    for row, columns in _MADE:
        session.execute(delete(row).where(or_(*(column.in_(pks) for column in columns))))
    anchored = select(ResultSetRow.code).where(ResultSetRow.anchor_instance_pk.in_(pks))
    wanted = WantedAnswerRow
    session.execute(delete(wanted).where(wanted.result_set_code.in_(anchored)))
    session.execute(delete(ResultSetRow).where(ResultSetRow.anchor_instance_pk.in_(pks)))
    session.execute(_PRUNE_HITS, {"pks": list(pks)})


_MADE: Final[tuple[tuple[Any, tuple[Any, ...]], ...]] = (
    (ExplanationRow, (ExplanationRow.query_instance_pk, ExplanationRow.hit_instance_pk)),
    (RelevanceFeedbackRow, (RelevanceFeedbackRow.query_instance_pk, RelevanceFeedbackRow.hit_instance_pk)),
    (DrawnBoxRow, (DrawnBoxRow.instance_pk,)),
    (DeliveryRow, (DeliveryRow.instance_pk,)),
    (WantedAnswerRow, (WantedAnswerRow.instance_pk, WantedAnswerRow.anchor_instance_pk)),
)
"""Tables that speak of instances, and the columns that name them."""

_PRUNE_HITS: Final = text(
    "UPDATE result_set SET hits = (SELECT coalesce(jsonb_agg(hit ORDER BY place), '[]'::jsonb) "
    "FROM jsonb_array_elements(hits) WITH ORDINALITY AS each(hit, place) "
    "WHERE NOT (hit ->> 'instance_pk')::bigint = ANY (:pks)) "
    "WHERE jsonb_path_query_array(hits, '$[*].instance_pk') "
    "@> ANY (ARRAY(SELECT to_jsonb(pk) FROM unnest(CAST(:pks AS bigint[])) AS pk))"
)
"""Takes hits out of kept answers, found by the index `result_set_hit`; the others keep their ranks."""


def forget_emptied(session: Session, study_pks: Collection[int], patient_pks: Collection[int]) -> dict[int, str]:
    """Remove of these studies and patients those of which nothing is left, with all that speaks of them, and the empty
    series of the others. Results about films that were moved elsewhere stay. Return the studies (key: UID).

    Nothing must be able to arrive in the studies. A patient that another transaction holds now is left.
    """
    row = StudyRow
    query = select(row.pk, row.study_instance_uid).where(row.pk.in_(study_pks), _has_no_instances())
    empty = dict(session.execute(query.order_by(row.pk).with_for_update()).all())
    deliveries.follow(session, study_pks)
    if empty:
        for made in (FindingRow, StudyResultsRow, DeliveryRow):
            session.execute(delete(made).where(made.study_pk.in_(empty)))
        released = StudyReleaseRow
        session.execute(delete(released).where(released.study_instance_uid.in_(list(empty.values()))))
    forget_empty(session, study_pks, patient_pks)
    return empty


def forget_empty(session: Session, study_pks: Collection[int], patient_pks: Collection[int]) -> None:
    """Remove of these studies, with their series, and of these patients those of which nothing is left.

    A patient that another transaction holds now is left.
    """
    session.execute(_FORGET_EMPTY, {"studies": sorted(study_pks), "patients": sorted(patient_pks)})


_FORGET_REMOVED: Final = text("SELECT forget_removed(:uids)")
_FORGET_EMPTY: Final = text("SELECT forget_empty(:studies, :patients)")
"""Functions of the schema's owner: the processes themselves may not delete these rows."""


def _forget_refused(session: Session, study_instance_uids: list[str], removal: Removal) -> None:
    """Take out versions of instances that were refused and never filed, of studies of which nothing is left."""
    row = InstanceVersionRow
    refused = list(
        session.scalars(select(row).where(row.study_instance_uid.in_(study_instance_uids), row.instance_pk.is_(None)))
    )
    for version in refused:
        values = {
            "sop_instance_uid": version.sop_instance_uid,
            "study_instance_uid": version.study_instance_uid,
            **verdict(removal),
            "objects_left": [version.storage_key],
        }
        removed.note(session, [values])
    session.execute(_FORGET_REMOVED, {"uids": [version.sop_instance_uid for version in refused]})


def _audit(session: Session, doomed: Sequence[_Doomed], emptied: Collection[int], removal: Removal) -> None:
    """Record for each patient what was taken out: whole studies (PS3.15 A.5.3.8), or instances of others (A.5.3.6)."""
    who = Endpoint(removal.by, removal.address, is_ae=removal.is_ae)
    for patient_id in sorted({one.patient_id for one in doomed}):
        for whole in (True, False):
            of_patient = [one for one in doomed if one.patient_id == patient_id]
            part = [one for one in of_patient if (one.study_pk in emptied) is whole]
            if not part:
                continue
            studies = _counted(part)
            deleted = whole and not removal.keep
            message = (
                study_deleted(who, patient_id, studies)
                if deleted
                else instances_accessed(who, patient_id, studies, Action.DELETE)
            )
            kind = "studies deleted" if deleted else "instances hidden" if removal.keep else "instances deleted"
            audit.record(
                session, kind, actor=removal.by, address=removal.address, detail=_detail(part, removal), message=message
            )


def _audit_bare(session: Session, bare: Sequence[_Bare], removal: Removal) -> None:
    who = Endpoint(removal.by, removal.address, is_ae=removal.is_ae)
    for patient_id in sorted({one.patient_id for one in bare}):
        uids = sorted(one.study_instance_uid for one in bare if one.patient_id == patient_id)
        audit.record(
            session,
            "studies deleted",
            actor=removal.by,
            address=removal.address,
            detail={**_detail([], removal), "studies": uids[:100]},
            message=study_deleted(who, patient_id, [Study(uid) for uid in uids]),
        )


def _detail(part: Sequence[_Doomed], removal: Removal) -> dict[str, Any]:
    return {
        "why": removal.why.value,
        "reason": removal.reason[:MAX_REASON],
        "again": removal.again.value,
        "note": removal.note_uid,
        "studies": sorted({one.study_instance_uid for one in part})[:100],
        "instances": len(part),
    }


def _counted(part: Sequence[_Doomed]) -> list[Study]:
    counts: dict[str, Counter[str]] = {}
    for one in part:
        counts.setdefault(one.study_instance_uid, Counter())[one.row.sop_class_uid] += 1
    return [Study(uid, classes) for uid, classes in sorted(counts.items())]
