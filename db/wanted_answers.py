"""Answers that are wanted later: for films sent to `RGN_*` (way A) and annotations that arrived (way C).

unread (an annotation that no worker has read yet, or whose image is not here yet) -> waiting -> answered | refused.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from db import analyses, instances
from db.generations import ACTIVE_PK
from db.tables import InstanceRow, SeriesRow, StudyRow, WantedAnswerRow
from regionmir.core.anatomy import Anatomy, anatomy_by_key
from regionmir.core.errors import InvalidBox
from regionmir.core.geometry import Box
from regionmir.core.identifiers import Uid
from regionmir.core.records import Caller, Disclosure, InstanceState

Way = Literal["A", "C"]

_UNREAD = (InstanceState.RECEIVED, InstanceState.INDEXING)
_FINAL = (
    InstanceRow.state.in_((InstanceState.INDEXED, InstanceState.UNSUPPORTED, InstanceState.FAILED)),
    ~analyses.unseen(ACTIVE_PK),
)
"""An anchor that the generation that answers has looked at, as far as it will be: the one before may have found it."""

ANNOTATION = "annotation"
"""Reason of an annotation that was read and became a question: it is kept, and never indexed."""


NOT_HERE: Final = "annotates an instance that is not here"
WAIT_S: Final = 86_400.0
"""How long an annotation waits for its image."""

_JUST_NOW_S: Final = 60.0
"""An instance may be seen so long after the time that it says it came: its transaction began then."""


@dataclass(frozen=True, slots=True)
class Marked:
    """A place to start from: an image, a box in its stored pixels, a region; None is not said."""

    sop_instance_uid: Uid
    box: Box | None
    anatomy: Anatomy | None


@dataclass(frozen=True, slots=True)
class WantedAnswer:
    """An answer that somebody waits for. No `anatomies`: all that were found in the anchor."""

    pk: int
    way: Way
    anchor_instance_pk: int
    anchor_uid: Uid
    anatomies: tuple[Anatomy, ...]
    box: Box | None
    caller_ae: str
    address: str
    disclosure: Disclosure
    destination: str


def want(
    session: Session, way: Way, sop_instance_uid: Uid, anatomies: Sequence[Anatomy], caller: Caller, destination: str
) -> None:
    """Record that `caller` wants answers about the instance that it sent, in the transaction that files it.

    Once while the first has not been answered; refused at once where there is nowhere to send results to, or no right
    to query. Our own copies start nothing, and neither does an annotation that was read already.
    """
    instance = InstanceRow
    sent = session.execute(
        select(instance.pk, instance.state, instance.reason).where(instance.sop_instance_uid == sop_instance_uid)
    ).first()
    if sent is None or sent.reason == "own_copy" or (way == "C" and sent.state not in _UNREAD):
        return
    reason = "" if destination else "no destination for results"
    if not caller.rights.find:
        reason = "no right to query"
    state = "refused" if reason else "waiting" if way == "A" else "unread"
    values = {
        "way": way,
        "instance_pk": sent.pk,
        "anchor_instance_pk": sent.pk if way == "A" else None,
        "anatomy_pks": [anatomy.key for anatomy in anatomies],
        "caller_ae": caller.ae_title,
        "address": caller.address,
        "disclosure": caller.disclosure.value,
        "destination": destination,
        "state": state,
        "reason": reason,
    }
    session.execute(insert(WantedAnswerRow).values(values).on_conflict_do_nothing())


def resolve(session: Session, instance_pk: int, marked: Sequence[Marked]) -> str:
    """Let an annotation that was read become questions, one for each place that it marks in a film of its patient.

    Returns `ANNOTATION`, or why there is none: nothing is marked in an image that is here, or the box is outside of it.
    Where an image is not here (`NOT_HERE`) the question stays unread: see `read_again`.
    """
    places = [_place(session, instance_pk, one) for one in marked]
    found = [place for place in places if not isinstance(place, str)]
    row = WantedAnswerRow
    unread = list(session.scalars(select(row).where(row.instance_pk == instance_pk, row.state == "unread")))
    if not found:
        if NOT_HERE in places:
            for wanted in unread:
                wanted.reason, wanted.asked_at = NOT_HERE, func.now()
            return NOT_HERE
        reason = next(place for place in places if isinstance(place, str))
        refuse_unread(session, instance_pk, reason)
        return reason
    for wanted in unread:
        session.delete(wanted)
        session.flush()
        kept = {column.key: getattr(wanted, column.key) for column in row.__table__.columns if column.key != "pk"}
        for anchor_pk, box, anatomy in found:
            asked = {
                "state": "waiting",
                "anchor_instance_pk": anchor_pk,
                "box": list(box.as_tuple()) if box else None,
                "anatomy_pks": kept["anatomy_pks"] or ([anatomy.key] if anatomy else []),
            }
            session.execute(insert(row).values({**kept, **asked}).on_conflict_do_nothing())
    return ANNOTATION


def refuse_unread(session: Session, instance_pk: int, reason: str) -> None:
    """Close what was wanted for an annotation that marks nothing to start from."""
    row = WantedAnswerRow
    statement = update(row).where(row.instance_pk == instance_pk, row.state == "unread")
    session.execute(statement.values(state="refused", reason=reason, answered_at=func.now()))


def read_again(session: Session) -> int:
    """Let annotations whose image was not here be read again where their patient has a newer instance.

    Returns how many. What has waited for `WAIT_S` is refused.
    """
    row, own, other = WantedAnswerRow, aliased(StudyRow), aliased(StudyRow)
    expecting = select(row.instance_pk).join(InstanceRow, InstanceRow.pk == row.instance_pk)
    expecting = expecting.where(
        row.state == "unread", InstanceRow.state == InstanceState.UNSUPPORTED, InstanceRow.reason == NOT_HERE
    )
    late = expecting.where(InstanceRow.received_at < func.now() - dt.timedelta(seconds=WAIT_S))
    for pk in session.scalars(late.distinct()).all():
        refuse_unread(session, pk, NOT_HERE)
    since = row.asked_at - dt.timedelta(seconds=_JUST_NOW_S)
    arrived, its_series, series = aliased(InstanceRow), aliased(SeriesRow), aliased(SeriesRow)
    newer = (
        select(arrived.pk)
        .join(its_series, its_series.pk == arrived.series_pk)
        .join(other, other.pk == its_series.study_pk)
        .where(other.patient_pk == own.patient_pk, arrived.pk != row.instance_pk, arrived.received_at > since)
    )
    uids = (
        expecting.with_only_columns(InstanceRow.sop_instance_uid)
        .join(series, series.pk == InstanceRow.series_pk)
        .join(own, own.pk == series.study_pk)
        .where(newer.exists())
    )
    return instances.reindex(session, uids=session.scalars(uids.distinct()).all())


def due(session: Session, limit: int = 100) -> list[int]:
    """Return the keys of the oldest answers that are waited for and whose film is final."""
    row = WantedAnswerRow
    query = select(row.pk).join(InstanceRow, InstanceRow.pk == row.anchor_instance_pk)
    query = query.where(row.state == "waiting", *_FINAL).order_by(row.asked_at, row.pk)
    return list(session.scalars(query.limit(limit)))


def take(session: Session, pk: int) -> WantedAnswer | None:
    """Return a waiting answer, for this transaction alone.

    None where another has it, it waits no more, or its film is not final by now: another generation took over.
    """
    row = WantedAnswerRow
    query = (
        select(row, InstanceRow.sop_instance_uid)
        .join(InstanceRow, InstanceRow.pk == row.anchor_instance_pk)
        .where(row.pk == pk, row.state == "waiting", *_FINAL)
        .with_for_update(of=row, skip_locked=True)
    )
    found = session.execute(query).first()
    return None if found is None else _wanted(*found)


def finish(session: Session, pk: int, *, code: str | None = None, reason: str = "") -> None:
    """Record the answer's result-set code, or why there is none."""
    values = {"state": "answered" if code else "refused", "result_set_code": code, "reason": reason[:200]}
    row = WantedAnswerRow
    session.execute(update(row).where(row.pk == pk).values(**values, answered_at=func.now()))


@dataclass(frozen=True, slots=True)
class ListedAnswer:
    """One line of a list of wanted answers."""

    way: str
    caller_ae: str
    destination: str
    state: str
    reason: str
    result_set_code: str | None
    anatomies: tuple[Anatomy, ...]
    asked_at: dt.datetime


def listing(session: Session, limit: int = 100) -> list[ListedAnswer]:
    """Return the newest wanted answers, newest first."""
    rows = session.scalars(select(WantedAnswerRow).order_by(WantedAnswerRow.pk.desc()).limit(limit))
    return [
        ListedAnswer(
            row.way,
            row.caller_ae,
            row.destination,
            row.state,
            row.reason,
            row.result_set_code,
            tuple(map(anatomy_by_key, row.anatomy_pks)),
            row.asked_at,
        )
        for row in rows
    ]


def _place(session: Session, instance_pk: int, marked: Marked) -> tuple[int, Box | None, Anatomy | None] | str:
    """Return where a question starts, or why it starts nowhere."""
    own_patient = select(StudyRow.patient_pk).join(SeriesRow, SeriesRow.study_pk == StudyRow.pk)
    own_patient = own_patient.join(InstanceRow, InstanceRow.series_pk == SeriesRow.pk)
    of_annotation = session.scalar(own_patient.where(InstanceRow.pk == instance_pk))
    query = (
        select(InstanceRow.pk, InstanceRow.rows, InstanceRow.columns, StudyRow.patient_pk)
        .join(SeriesRow, SeriesRow.pk == InstanceRow.series_pk)
        .join(StudyRow, StudyRow.pk == SeriesRow.study_pk)
        .where(InstanceRow.sop_instance_uid == marked.sop_instance_uid)
    )
    image = session.execute(query).first()
    if image is None:
        return NOT_HERE
    if image.patient_pk != of_annotation:
        return "annotates another patient's instance"
    try:
        box = marked.box.clipped(image.columns or 0, image.rows or 0) if marked.box else None
    except InvalidBox:
        return "box outside the image"
    return image.pk, box, marked.anatomy


def _wanted(row: WantedAnswerRow, uid: str) -> WantedAnswer:
    assert row.anchor_instance_pk is not None
    return WantedAnswer(
        row.pk,
        "A" if row.way == "A" else "C",
        row.anchor_instance_pk,
        Uid(uid),
        tuple(map(anatomy_by_key, row.anatomy_pks)),
        Box(*row.box) if row.box else None,
        row.caller_ae,
        row.address,
        Disclosure(row.disclosure),
        row.destination,
    )
