"""Filing an instance that has arrived: parents, pseudonyms, versions and conflicts, in one transaction.

Any number of associations may store the same study at once. Rows are taken in one order (patient, study, series,
instance), so that no two wait for each other; what another transaction files first is found and used. Senders that
may correct take turns per study.
"""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import Table, bindparam, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased
from sqlalchemy.sql.dml import ReturningInsert

from db import at_once, audit, filing, patients, pseudonyms, regions, removal, removals, removed
from db.engine import Database, driver_of
from db.filing import PatientIdentity
from db.removed import Return
from db.tables import (
    Base,
    DeliveryRow,
    InstanceRow,
    InstanceVersionRow,
    MergedPatientRow,
    PatientRow,
    PseudonymRow,
    RemovedInstanceRow,
    SeriesRow,
    StudyRow,
)
from regionmir.core.audit_events import Endpoint, Study, instances_accessed
from regionmir.core.audit_message import Action
from regionmir.core.errors import DatabaseUnavailable
from regionmir.core.keeping import Kept
from regionmir.core.pseudonyms import Pseudonymizer
from regionmir.core.records import InstanceHeader, InstanceState, StoredObject

Outcome = Literal["new", "duplicate", "corrected", "conflict", "hidden", "refused"]
SameContent = Callable[[str, str], bool]
ContentOf = Callable[[str], str | None]
IsStored = Callable[[str], bool]

_SENDER = ("source_ae", "source_address", "called_ae")

_ROUNDS = 5  # how often another transaction may file the same rows between our look and our insert
OWN_COPY = "own_copy"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of an instance. `comment` is for the sender: at most 64 characters, without PHI."""

    outcome: Outcome
    comment: str = ""


_RECEIPTS: Final[dict[Return, Receipt | None]] = {
    Return.ACCEPTED: None,
    Return.HIDDEN: Receipt("hidden"),
    Return.REFUSED: Receipt("refused", "deleted here for good; it is not taken again"),
    Return.DIFFERS: Receipt("conflict", "rejected, and differs from what was rejected"),
}
"""Of instances that were taken out of the archive and come again."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """An instance on its way into the tables."""

    header: InstanceHeader
    stored: StoredObject
    source_ae: str
    source_address: str
    called_ae: str
    pseudonymizer: Pseudonymizer

    merged_into: PatientIdentity | None = None
    """Who the patient that it names is since."""

    @property
    def named_patient(self) -> PatientIdentity:
        """Return whose instance it says it is."""
        return filing.identity(self.header)

    @property
    def patient(self) -> PatientIdentity:
        """Return whose instance it is."""
        return self.merged_into or self.named_patient


@dataclass(frozen=True, slots=True)
class _Present:
    """What the tables hold already of an arrival's patient, study, series and instance."""

    patient: PatientIdentity | None
    """Whose the study is."""
    patient_pk: int | None
    study_pk: int | None
    series_pk: int | None
    series_study_pk: int | None
    instance_pk: int | None
    sha256: str | None
    transfer_syntax_uid: str | None
    storage_key: str | None
    kept: str | None
    content_sha256: str | None
    own_copy: bool
    """One of its UIDs is a pseudonym, or it is a result of ours: we emitted it."""
    arrivals_patient_pk: int | None
    """The patient that the arrival names, whoever's the study is."""
    known_as: list[str] | None
    """Patients (`patient.key`) under whom instances of the study came before that was corrected."""
    removed: bool
    """The instance was taken out of the archive."""
    merged: bool
    """The patient that the arrival names was merged into another one."""

    def is_of(self, patient: PatientIdentity) -> bool:
        """Return whether the study, if it is here, is this patient's or came as such before that was corrected."""
        if self.patient is None or self.patient.accepts(patient):
            return True
        return patient.key in (self.known_as or ())


class _Held(NamedTuple):
    """What the embeddings of a study's films say of it."""

    patient_pk: int
    study_date: dt.date | None


def _adding(row: type[Base]) -> ReturningInsert[int]:
    """Return a statement that adds a row and returns its key: none where an equal one is there already."""
    table = row.__table__
    assert isinstance(table, Table)
    return insert(table).on_conflict_do_nothing().returning(table.c.pk)


# Made once: building these takes longer than running them.
_ADD_PATIENT, _ADD_STUDY, _ADD_SERIES, _ADD_INSTANCE, _ADD_VERSION = map(
    _adding, (PatientRow, StudyRow, SeriesRow, InstanceRow, InstanceVersionRow)
)
_HOLD_STUDY = (
    select(StudyRow.pk)
    .where(StudyRow.pk == bindparam("pk"), StudyRow.patient_pk == bindparam("of_patient"))
    .with_for_update(read=True)
)
"""The study if it is this patient's, which it then stays until we commit."""

_STILL_THERE = select(SeriesRow.pk).where(SeriesRow.pk == bindparam("pk"), SeriesRow.study_pk == bindparam("of_study"))
"""The series, unless it was emptied or moved before its study was held; from then on it stays."""

_HOLD_PATIENT = (
    select(PatientRow.pk).where(PatientRow.key == bindparam("key")).with_for_update(read=True, key_share=True)
)
"""The patient if there still is one, who then is not forgotten until we commit."""

_ArrivalsPatient = aliased(PatientRow)
_LOOK = (
    select(
        PatientRow.patient_id,
        PatientRow.issuer,
        PatientRow.anonymous_key,
        StudyRow.patient_pk,
        StudyRow.pk,
        SeriesRow.pk,
        SeriesRow.study_pk,
        InstanceRow.pk,
        InstanceRow.sha256,
        InstanceRow.transfer_syntax_uid,
        InstanceRow.storage_key,
        InstanceRow.kept,
        InstanceRow.content_sha256,
        select(literal(1))
        .where(
            PseudonymRow.kind.in_((pseudonyms.STUDY, pseudonyms.SERIES, pseudonyms.INSTANCE)),
            PseudonymRow.pseudonym.in_((bindparam("study"), bindparam("series"), bindparam("sop"))),
        )
        .exists()
        | select(literal(1)).where(DeliveryRow.sop_instance_uid == bindparam("sop")).exists(),
        _ArrivalsPatient.pk,
        StudyRow.known_as,
        select(literal(1)).where(RemovedInstanceRow.sop_instance_uid == bindparam("sop")).exists(),
        select(literal(1)).where(MergedPatientRow.key == bindparam("patient_key")).exists(),
    )
    .select_from(select(literal(1).label("one")).subquery())
    .outerjoin(StudyRow, StudyRow.study_instance_uid == bindparam("study"))
    .outerjoin(PatientRow, PatientRow.pk == StudyRow.patient_pk)
    .outerjoin(SeriesRow, SeriesRow.series_instance_uid == bindparam("series"))
    .outerjoin(InstanceRow, InstanceRow.sop_instance_uid == bindparam("sop"))
    .outerjoin(
        _ArrivalsPatient,
        (_ArrivalsPatient.patient_id == bindparam("patient_id"))
        & (_ArrivalsPatient.issuer == bindparam("issuer"))
        & (_ArrivalsPatient.anonymous_key == bindparam("anonymous_key")),
    )
)


def _is_stored(_key: str) -> bool:
    """Return that an object is there: so it is, as long as nobody deletes."""
    return True


def _unknown_content(_key: str) -> None:
    """Return that nothing is known of what an object holds but its bytes."""


def receive_new(database: Database, arrival: Arrival) -> Receipt | None:
    """File an instance whose object is durably stored, if it is new and nothing unusual is known of it.

    One statement is all of the transaction. None: `receive` is to file it.
    """
    rows = _rows(arrival)
    with database.single_statements() as connection:
        return Receipt("new") if at_once.file(connection, rows) else None


def receive(
    session: Session,
    header: InstanceHeader,
    stored: StoredObject,
    *,
    source_ae: str,
    source_address: str,
    called_ae: str,
    pseudonymizer: Pseudonymizer,
    may_correct: bool,
    same_content: SameContent,
    content_of: ContentOf = _unknown_content,
    is_stored: IsStored = _is_stored,
    may_be_new: bool = True,
) -> Receipt:
    """File an instance whose object is durably stored, and say what became of it.

    new: it waits for a worker. duplicate: equal to what is filed, no work. corrected: the current version was replaced,
    its regions dropped, and it waits again. conflict: it differs and the sender may not correct; kept aside, listed.
    hidden: it was rejected, and is kept for nobody to see. refused: it was deleted for good.
    Where the bytes differ `same_content(old_key, new_key)` is asked, or, if the old object is no longer kept,
    `content_of(key)` (`instance.content_sha256`); `is_stored(key)` only of what was deleted.
    `may_be_new` is False where `receive_new` said that it is not.
    """
    arrival = Arrival(header, stored, source_ae, source_address, called_ae, pseudonymizer)
    is_same = partial(_is_same, same_content=same_content, content_of=content_of)
    come_again = partial(_come_again, same_content=same_content, content_of=content_of, is_stored=is_stored)
    if may_correct:
        _alone_with_study(session, arrival)
    if may_be_new and _at_once(session, arrival):
        return Receipt("new")
    for _ in range(_ROUNDS):
        present = _present(session, arrival)
        if present.merged and arrival.merged_into is None:
            arrival = replace(arrival, merged_into=patients.merged_into(session, arrival.named_patient.key))
            present = _present(session, arrival)
        receipt = come_again(session, arrival) if present.removed else None
        receipt = receipt or _file(session, arrival, present, may_correct, is_same)
        if receipt is not None:
            return receipt
    raise DatabaseUnavailable("the same instance is being filed by too many associations at once")


def _at_once(session: Session, arrival: Arrival) -> bool:
    """File the arrival if it is new, and nothing unusual is known of it or its parents; else the steps follow."""
    with driver_of(session) as connection:
        return at_once.file(connection, _rows(arrival))


def _rows(arrival: Arrival) -> at_once.Rows:
    """Return what is filed of an arrival that is new."""
    header, who, make = arrival.header, arrival.patient, arrival.pseudonymizer
    return at_once.Rows(
        who.key,
        _patient_values(arrival),
        _study_values(arrival),
        _series_values(arrival),
        _new_instance_values(arrival, own_copy=False),
        {
            pseudonyms.PATIENT: make.patient_id(who.key),
            pseudonyms.STUDY: make.uid(pseudonyms.STUDY, header.study_instance_uid),
            pseudonyms.SERIES: make.uid(pseudonyms.SERIES, header.series_instance_uid),
            pseudonyms.INSTANCE: make.uid(pseudonyms.INSTANCE, header.sop_instance_uid),
        },
        make.key_version,
    )


def _come_again(
    session: Session, arrival: Arrival, same_content: SameContent, content_of: ContentOf, is_stored: IsStored
) -> Receipt | None:
    """Return what becomes of an instance that was taken out of the archive, None where it is to be filed."""
    sender = {name: filing.clean(getattr(arrival, name)) for name in _SENDER}
    sender["sop_class_uid"] = arrival.header.sop_class_uid
    done = removed.comes_again(
        session,
        arrival.header.sop_instance_uid,
        arrival.stored,
        sender,
        same_content=same_content,
        content_of=content_of,
        is_stored=is_stored,
    )
    return _RECEIPTS[done]


def _alone_with_study(session: Session, arrival: Arrival) -> None:
    """Wait until no other sender that may correct is at this study: two that move it would block each other."""
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(arrival.header.study_instance_uid, 0))))


def _file(
    session: Session,
    arrival: Arrival,
    present: _Present,
    may_correct: bool,
    is_same: Callable[[Arrival, _Present], bool],
) -> Receipt | None:
    """Return what became of the arrival, None where another transaction came between: look again."""
    if present.instance_pk is not None and is_same(arrival, present):
        _note_sender(session, arrival, present.instance_pk)
        if present.kept != Kept.OBJECT:
            _take_back(session, arrival, present.instance_pk)
        return Receipt("duplicate")
    difference = _difference(arrival, present)
    if difference is None:
        return _add(session, arrival, present)
    if not may_correct:
        return _refuse(session, arrival, present, difference)
    return _correct(session, arrival, present, difference)


def _note_sender(session: Session, arrival: Arrival, instance_pk: int) -> None:
    """Note who sent what we had only fetched ourselves until now: it is sent results."""
    row = InstanceRow
    sender = {name: filing.clean(getattr(arrival, name)) for name in _SENDER}
    if arrival.called_ae:
        session.execute(update(row).where(row.pk == instance_pk, row.called_ae == "").values(sender))


def _take_back(session: Session, arrival: Arrival, instance_pk: int) -> None:
    """Keep an object of an instance again that was reduced to less, in whatever transfer syntax it has come now."""
    row, stored = InstanceRow, arrival.stored
    reduced = select(row.storage_key).where(row.pk == instance_pk, row.kept == Kept.REDUCED).with_for_update()
    removals.ask(session, session.scalars(reduced).all())
    values: dict[str, Any] = {"kept": Kept.OBJECT, **_object_values(stored)}
    if arrival.called_ae:  # it was sent to us, not fetched: its days begin anew
        values["received_at"] = func.now()
    session.execute(update(row).where(row.pk == instance_pk, row.kept != Kept.OBJECT).values(**values))


def _is_same(arrival: Arrival, present: _Present, same_content: SameContent, content_of: ContentOf) -> bool:
    stored = arrival.stored
    if (stored.sha256, stored.transfer_syntax_uid) == (present.sha256, present.transfer_syntax_uid):
        return True
    if present.kept != Kept.OBJECT:
        return present.content_sha256 is not None and content_of(stored.key) == present.content_sha256
    assert present.storage_key is not None
    return same_content(present.storage_key, stored.key)


def _difference(arrival: Arrival, present: _Present) -> str | None:
    """Return in what the arrival contradicts the tables (the sender's Error Comment), None if in nothing."""
    if not present.is_of(arrival.patient):
        return "study belongs to another patient"
    if present.series_study_pk is not None and present.series_study_pk != present.study_pk:
        return "series belongs to another study"
    if present.instance_pk is not None:
        return "differs from the stored instance"
    return None


def _present(session: Session, arrival: Arrival) -> _Present:
    header, who = arrival.header, arrival.patient
    found = session.execute(
        _LOOK,
        {
            "sop": header.sop_instance_uid,
            "series": header.series_instance_uid,
            "study": header.study_instance_uid,
            "patient_id": who.patient_id,
            "issuer": who.issuer,
            "anonymous_key": who.anonymous_key,
            "patient_key": arrival.named_patient.key,
        },
    ).one()
    patient_id, issuer, anonymous_key, *rest = found
    patient = None if patient_id is None else PatientIdentity(patient_id, issuer, anonymous_key)
    return _Present(patient, *rest)


def _add(session: Session, arrival: Arrival, present: _Present) -> Receipt | None:
    """File the arrival under its parents, filing those that are new; None where another transaction came between."""
    header = arrival.header
    if present.study_pk is None:
        study_pk = _study(session, arrival, _patient(session, arrival, present))
    else:
        study_pk = session.scalar(_HOLD_STUDY, {"pk": present.study_pk, "of_patient": present.patient_pk})
    if study_pk is None:
        return None
    if present.series_pk is None:
        series_pk = _series(session, arrival, study_pk)
    else:
        series_pk = session.scalar(_STILL_THERE, {"pk": present.series_pk, "of_study": study_pk})
    if series_pk is None:
        return None
    values = _new_instance_values(arrival, own_copy=present.own_copy)
    if session.scalar(_ADD_INSTANCE, {**values, "series_pk": series_pk}) is None:
        return None
    made = {pseudonyms.INSTANCE: header.sop_instance_uid}
    if present.series_pk is None:
        made[pseudonyms.SERIES] = header.series_instance_uid
    if present.study_pk is None:
        made[pseudonyms.STUDY] = header.study_instance_uid
    pseudonyms.ensure_uids(session, made, arrival.pseudonymizer)
    return Receipt("new")


def _patient(session: Session, arrival: Arrival, present: _Present) -> int:
    """Return the key of the arrival's patient, filed now if need be."""
    who = arrival.patient
    values = _patient_values(arrival)
    may_be_known = present.arrivals_patient_pk is not None
    for _ in range(_ROUNDS):
        known = session.scalar(_HOLD_PATIENT, {"key": who.key}) if may_be_known else None
        if known is not None:
            return known
        added = session.scalar(_ADD_PATIENT, values)
        if added is not None:
            pseudonyms.ensure_patient(session, who.key, arrival.pseudonymizer)
            return added
        may_be_known = True
    raise DatabaseUnavailable("the same patient is being corrected by too many associations at once")


def _study(session: Session, arrival: Arrival, patient_pk: int) -> int | None:
    """Return the key of the arrival's study, filed now under this patient; None if it is there already."""
    known_as = [arrival.named_patient.key] if arrival.merged_into else []
    return session.scalar(_ADD_STUDY, {**_study_values(arrival), "patient_pk": patient_pk, "known_as": known_as})


def _series(session: Session, arrival: Arrival, study_pk: int) -> int | None:
    """Return the key of the arrival's series, filed now under this study; None if it is there already."""
    return session.scalar(_ADD_SERIES, {**_series_values(arrival), "study_pk": study_pk})


def _patient_values(arrival: Arrival) -> dict[str, Any]:
    who = arrival.patient
    return {
        "patient_id": who.patient_id,
        "issuer": who.issuer,
        "anonymous_key": who.anonymous_key,
        "date_shift_days": arrival.pseudonymizer.date_shift_days(who.key),
        **filing.patient_values(arrival.header.attributes),
    }


def _study_values(arrival: Arrival) -> dict[str, Any]:
    header = arrival.header
    return {"study_instance_uid": header.study_instance_uid, **filing.study_values(header.attributes)}


def _series_values(arrival: Arrival) -> dict[str, Any]:
    header = arrival.header
    return {"series_instance_uid": header.series_instance_uid, **filing.series_values(header.attributes)}


def _new_instance_values(arrival: Arrival, *, own_copy: bool) -> dict[str, Any]:
    """Return the columns of a new instance but for its series."""
    return {
        **_instance_values(arrival),
        "sop_instance_uid": arrival.header.sop_instance_uid,
        "state": InstanceState.UNSUPPORTED if own_copy else InstanceState.RECEIVED,
        "reason": OWN_COPY if own_copy else "",
    }


def _instance_values(arrival: Arrival) -> dict[str, Any]:
    """Return the columns of `instance` that belong to this version of it."""
    header, stored = arrival.header, arrival.stored
    return {
        "sop_class_uid": header.sop_class_uid,
        **_object_values(stored),
        "source_ae": filing.clean(arrival.source_ae),
        "source_address": filing.clean(arrival.source_address),
        "called_ae": filing.clean(arrival.called_ae),
        **filing.instance_values(header.attributes),
        "kept": Kept.OBJECT,
        "content_sha256": None,
    }


def _object_values(stored: StoredObject) -> dict[str, Any]:
    return {
        "transfer_syntax_uid": stored.transfer_syntax_uid,
        "sha256": stored.sha256,
        "storage_key": stored.key,
        "size_bytes": stored.size_bytes,
    }


def _refuse(session: Session, arrival: Arrival, present: _Present, difference: str) -> Receipt:
    """Keep the arrival aside, once however often it is sent."""
    if _keep_version(session, _arrival_version(arrival, present.instance_pk), "conflict", difference):
        _record(session, "instance refused", arrival, difference)
    return Receipt("conflict", f"{difference}; no right to correct")


def _correct(session: Session, arrival: Arrival, present: _Present, difference: str) -> Receipt | None:
    """Replace the current version and move what the arrival files elsewhere; None if somebody came between."""
    whose = _correct_patient(session, arrival, present)
    if whose is None:
        return None
    patient_pk, sex_changes = whose
    held = _hold_studies(session, present, patient_pk if sex_changes else None)
    refreshing = sex_changes or _is_moved(arrival, present, patient_pk, held)
    if refreshing:
        regions.wait_for_writers(session, held)
    study_pk = _correct_study(session, arrival, patient_pk)
    series_pk = _correct_series(session, arrival, study_pk)
    if present.instance_pk is None:
        added = _add(session, arrival, _present(session, arrival))
        if added is None:
            return None
    elif not _replace_version(session, arrival, present, series_pk, difference):
        return None
    if refreshing:
        regions.refresh_filters(session, {*held, study_pk})
    removal.forget_emptied(session, held.keys(), [study.patient_pk for study in held.values()])
    _settle_conflicts(session, arrival)
    _record(session, "instance corrected", arrival, difference)
    return Receipt("corrected", difference)


def _correct_patient(session: Session, arrival: Arrival, present: _Present) -> tuple[int, bool] | None:
    """Return the arrival's patient: the study's own where it accepts the arrival; and whether their sex changes.

    Their values are brought up to date. None where they are gone: another correction has just left them no study.
    """
    row = PatientRow
    kept = present.patient is not None and present.is_of(arrival.patient)
    pk = present.patient_pk if kept and present.patient_pk else _patient(session, arrival, present)
    before = session.execute(select(row.sex).where(row.pk == pk).with_for_update(key_share=True)).one_or_none()
    if before is None:
        return None
    corrected = (
        update(row)
        .where(row.pk == pk, row.corrected_at.is_(None))
        .values(**filing.patient_values(arrival.header.attributes))
    )
    after = session.scalar(corrected.returning(row.sex))
    return pk, after is not None and after != before.sex


def _hold_studies(session: Session, present: _Present, of_patient: int | None) -> dict[int, _Held]:
    """Return the studies that a correction may change or take something out of: all of a patient, if one is told.
    Nothing arrives in them until we commit. They are taken before any instance, in one order, as everybody does.
    """
    row = StudyRow
    of_instance = select(SeriesRow.study_pk).join(InstanceRow).where(InstanceRow.pk == present.instance_pk)
    known = [pk for pk in (present.study_pk, present.series_study_pk) if pk is not None]
    concerned = row.pk.in_(known) | row.pk.in_(of_instance)
    if of_patient is not None:
        concerned |= row.patient_pk == of_patient
    query = select(row.pk, row.patient_pk, row.study_date).where(concerned).order_by(row.pk)
    held = session.execute(query.with_for_update(key_share=True))
    return {pk: _Held(patient_pk, study_date) for pk, patient_pk, study_date in held}


def _is_moved(arrival: Arrival, present: _Present, patient_pk: int, held: Mapping[int, _Held]) -> bool:
    """Return whether the arrival gives its study another patient or date, or its series another study."""
    if present.series_study_pk not in (None, present.study_pk):
        return True
    if present.study_pk is None:
        return False
    return held.get(present.study_pk) != _Held(patient_pk, _study_values(arrival)["study_date"])


def _correct_study(session: Session, arrival: Arrival, patient_pk: int) -> int:
    """Return the arrival's study, moved to this patient where it was another's."""
    row, uid = StudyRow, arrival.header.study_instance_uid
    pk = _study(session, arrival, patient_pk)
    if pk is not None:
        pseudonyms.ensure_uids(session, {pseudonyms.STUDY: uid}, arrival.pseudonymizer)
        return pk
    locked = select(row.pk, row.patient_pk).where(row.study_instance_uid == uid).with_for_update(key_share=True)
    pk, owner_pk = session.execute(locked).one()
    session.execute(
        update(row).where(row.pk == pk).values(patient_pk=patient_pk, **filing.study_values(arrival.header.attributes))
    )
    if owner_pk != patient_pk:
        _work_again(session, select(SeriesRow.pk).where(SeriesRow.study_pk == pk))
        removal.forget_empty(session, [], [owner_pk])
    return pk


def _correct_series(session: Session, arrival: Arrival, study_pk: int) -> int:
    """Return the arrival's series, moved to this study where it was another's."""
    row, uid = SeriesRow, arrival.header.series_instance_uid
    pk = _series(session, arrival, study_pk)
    if pk is not None:
        pseudonyms.ensure_uids(session, {pseudonyms.SERIES: uid}, arrival.pseudonymizer)
        return pk
    locked = select(row.pk, row.study_pk).where(row.series_instance_uid == uid).with_for_update(key_share=True)
    pk, owner_pk = session.execute(locked).one()
    session.execute(
        update(row).where(row.pk == pk).values(study_pk=study_pk, **filing.series_values(arrival.header.attributes))
    )
    if owner_pk != study_pk:
        _work_again(session, select(SeriesRow.pk).where(SeriesRow.pk == pk))
    return pk


def _work_again(session: Session, series: Any) -> None:
    """Drop the regions of these series' instances and let them be indexed anew: they are another patient's now."""
    row = InstanceRow
    worked = select(row.pk).where(
        row.series_pk.in_(series),
        row.state.in_((InstanceState.INDEXED, InstanceState.INDEXING)),
        row.kept != Kept.NOTHING,
    )
    pks = list(session.scalars(worked.order_by(row.pk).with_for_update()))
    regions.drop(session, pks)
    session.execute(update(row).where(row.pk.in_(pks)).values(**_to_be_indexed()))


def _replace_version(session: Session, arrival: Arrival, present: _Present, series_pk: int, difference: str) -> bool:
    row = InstanceRow
    old = session.scalar(
        select(row)
        .where(row.pk == present.instance_pk, row.sha256 == present.sha256)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if old is None:
        return False
    _keep_version(session, _current_version(session, old), "superseded", difference)
    regions.drop(session, [old.pk])
    values = {**_instance_values(arrival), **_to_be_indexed(), "series_pk": series_pk, "received_at": func.now()}
    if present.own_copy:
        values |= {"state": InstanceState.UNSUPPORTED, "reason": OWN_COPY}
    session.execute(update(row).where(row.pk == old.pk).values(**values))
    session.expire(old)
    return True


def _to_be_indexed() -> dict[str, Any]:
    return {
        "state": InstanceState.RECEIVED,
        "reason": "",
        "attempts": 0,
        "lease_owner": None,
        "lease_until": None,
        "pixel_sha256": None,
        "pipeline_hash": None,
        "indexed_at": None,
    }


def _current_version(session: Session, row: InstanceRow) -> dict[str, Any]:
    study_uid = session.scalars(
        select(StudyRow.study_instance_uid).join(SeriesRow).where(SeriesRow.pk == row.series_pk)
    ).one()
    copied = (
        "sop_instance_uid storage_key sha256 transfer_syntax_uid size_bytes source_ae source_address received_at "
        "attributes kept"
    )
    values = {name: getattr(row, name) for name in copied.split()}
    return {**values, "instance_pk": row.pk, "study_instance_uid": study_uid}


def _arrival_version(arrival: Arrival, instance_pk: int | None) -> dict[str, Any]:
    header, stored = arrival.header, arrival.stored
    return {
        "instance_pk": instance_pk,
        "sop_instance_uid": header.sop_instance_uid,
        "study_instance_uid": header.study_instance_uid,
        "storage_key": stored.key,
        "sha256": stored.sha256,
        "transfer_syntax_uid": stored.transfer_syntax_uid,
        "size_bytes": stored.size_bytes,
        "source_ae": filing.clean(arrival.source_ae),
        "source_address": filing.clean(arrival.source_address),
        "attributes": filing.clean(dict(header.attributes)),
    }


def _keep_version(session: Session, version: dict[str, Any], kind: str, comment: str) -> bool:
    """File a version that is not the current one; False where it is filed already."""
    return session.scalar(_ADD_VERSION, {**version, "kind": kind, "comment": comment}) is not None


def _settle_conflicts(session: Session, arrival: Arrival) -> None:
    """The arrival is the current version now: it is no open conflict any more."""
    row = InstanceVersionRow
    session.execute(
        update(row)
        .where(
            row.sop_instance_uid == arrival.header.sop_instance_uid,
            row.kind == "conflict",
            row.sha256 == arrival.stored.sha256,
            row.resolved_at.is_(None),
        )
        .values(resolved_at=func.now())
    )


def _record(session: Session, kind: str, arrival: Arrival, difference: str) -> None:
    header, sender = arrival.header, Endpoint(arrival.source_ae, arrival.source_address)
    study = Study(header.study_instance_uid, {header.sop_class_uid: 1})
    corrected = instances_accessed(sender, header.patient_id, [study], Action.UPDATE)
    audit.record(
        session,
        kind,
        actor=arrival.source_ae,
        address=arrival.source_address,
        detail={
            "sop_instance_uid": header.sop_instance_uid,
            "sha256": arrival.stored.sha256,
            "difference": difference,
        },
        message=corrected if kind == "instance corrected" else None,
    )
