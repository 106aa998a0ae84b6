"""What a query may start from: instances named by an accession number, a UID, a pseudonym of one, or by recency."""

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, Interval, Result, Select, Text, bindparam, func, or_, select, union
from sqlalchemy.orm import Session

from db import pseudonyms
from db.tables import InstanceRow, PatientRow, PseudonymRow, SeriesRow, StudyRow
from db.visibility import visible
from regionmir.core.identifiers import Uid
from regionmir.core.records import InstanceState

UID_ROOT = "2.25."
"""Every pseudonymous UID begins so (PS3.5 B.2)."""

MAX_INSTANCES = 1000
"""Most instances of one anchor: a study with more is no radiograph."""


@dataclass(frozen=True, slots=True)
class AnchorInstance:
    """An instance that a query may start from, with how far the work on it has come."""

    instance_pk: int
    sop_instance_uid: Uid
    series_instance_uid: Uid
    state: InstanceState
    reason: str
    view: str
    instance_number: int | None
    received_at: dt.datetime
    storage_key: str
    pixel_sha256: str | None


@dataclass(frozen=True, slots=True)
class AnchorStudy:
    """A study that was named, with those of its instances that the name covers, newest first."""

    study_pk: int
    study_instance_uid: Uid
    patient_pk: int
    received_at: dt.datetime
    instances: tuple[AnchorInstance, ...]

    @property
    def indexed(self) -> tuple[AnchorInstance, ...]:
        return tuple(i for i in self.instances if i.state is InstanceState.INDEXED)


def find_anchor(session: Session, text: str) -> list[AnchorStudy]:
    """Return what `text` names, newest study first: an accession number, a Study, Series or SOP Instance UID, or the
    pseudonym of one of the UIDs. Several studies may share an accession number; none is an empty list."""
    if not text or "\0" in text:
        return []
    names = [text, *_originals(session, text)]
    return _studies(session.execute(_NAMED, {"text": text, "names": names}))


def of_instance(session: Session, instance_pk: int) -> AnchorStudy | None:
    """Return the anchor that consists of this one instance (a result set starts from one), None if there is none."""
    found = _studies(session.execute(_OF_INSTANCE, {"instance_pk": instance_pk}))
    return found[0] if found else None


def latest_from(session: Session, aes: Collection[str], within_s: float) -> list[AnchorStudy]:
    """Return the studies that got instances from these AE titles in the last `within_s` seconds, newest first."""
    within = dt.timedelta(seconds=within_s)
    return _studies(session.execute(_LATEST, {"aes": list(aes), "within": within}))


def _originals(session: Session, pseudonym: str) -> list[str]:
    if not pseudonym.startswith(UID_ROOT):
        return []
    row = PseudonymRow
    kinds = (pseudonyms.STUDY, pseudonyms.SERIES, pseudonyms.INSTANCE)
    return list(session.scalars(select(row.original).where(row.kind.in_(kinds), row.pseudonym == pseudonym)))


def _instances(which: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    """Return the statement that selects these instances with their studies, newest first."""
    row = InstanceRow
    return (
        select(
            StudyRow.pk.label("study_pk"),
            StudyRow.study_instance_uid,
            PatientRow.pk.label("patient_pk"),
            SeriesRow.series_instance_uid,
            row.pk.label("instance_pk"),
            row.sop_instance_uid,
            row.state,
            row.reason,
            row.view,
            row.instance_number,
            row.received_at,
            row.storage_key,
            row.pixel_sha256,
        )
        .join(SeriesRow, SeriesRow.pk == row.series_pk)
        .join(StudyRow, StudyRow.pk == SeriesRow.study_pk)
        .join(PatientRow, PatientRow.pk == StudyRow.patient_pk)
        .where(which, visible())
        .order_by(row.received_at.desc(), row.pk.desc())
        .limit(MAX_INSTANCES)
    )


def _named() -> ColumnElement[bool]:
    """Return what picks the instances that `:text` names; `:names` holds it and what it is the pseudonym of."""
    text, names = bindparam("text", type_=Text), bindparam("names", expanding=True, type_=Text)
    instance = select(InstanceRow.pk)
    in_series = instance.join(SeriesRow, SeriesRow.pk == InstanceRow.series_pk)
    in_study = in_series.join(StudyRow, StudyRow.pk == SeriesRow.study_pk)
    one_branch_per_index = union(  # a condition across tables would read all of them
        instance.where(InstanceRow.sop_instance_uid.in_(names)),
        in_series.where(SeriesRow.series_instance_uid.in_(names)),
        in_study.where(or_(StudyRow.accession_number == text, StudyRow.study_instance_uid.in_(names))),
    )
    return InstanceRow.pk.in_(one_branch_per_index)


_NAMED = _instances(_named())
_OF_INSTANCE = _instances(InstanceRow.pk == bindparam("instance_pk"))
_LATEST = _instances(
    InstanceRow.source_ae.in_(bindparam("aes", expanding=True))
    & (InstanceRow.received_at > func.now() - bindparam("within", type_=Interval))
    & (InstanceRow.reason != "own_copy")
)


def _studies(found: Result[Any]) -> list[AnchorStudy]:
    lines = [dict(line) for line in found.mappings()]
    lines.sort(key=lambda line: line["study_pk"])  # stable: newest first within each study
    studies = [_study(list(group)) for _, group in groupby(lines, key=lambda line: line["study_pk"])]
    return sorted(studies, key=lambda study: study.received_at, reverse=True)


def _study(lines: list[dict[str, Any]]) -> AnchorStudy:
    first = lines[0]
    return AnchorStudy(
        first["study_pk"],
        Uid(first["study_instance_uid"]),
        first["patient_pk"],
        first["received_at"],
        tuple(_instance(line) for line in lines),
    )


def _instance(line: dict[str, Any]) -> AnchorInstance:
    own = {k: v for k, v in line.items() if k not in ("study_pk", "study_instance_uid", "patient_pk", "state")}
    return AnchorInstance(**own, state=InstanceState(line["state"]))
