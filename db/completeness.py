"""When a study is complete, so that its results can be made: it has been quiet, or its sender has hung up.

Nothing is written while instances arrive: how quiet a study is shows in its rows. An image that comes late makes its
study due again; what that changes in its results is for `deliveries.enqueue` to find out.
"""

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import ColumnElement, DateTime, ScalarSelect, Select, delete, exists, func, literal, or_, select
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import aggregate_order_by, insert
from sqlalchemy.orm import Session

from db import analyses
from db.generations import ACTIVE_PK
from db.tables import InstanceRow, PeerRow, SeriesRow, StudyReleaseRow, StudyResultsRow, StudyRow, WantedAnswerRow
from db.visibility import visible
from regionmir.core.identifiers import AETitle, Uid
from regionmir.core.records import InstanceState

LOOK_BACK_DAYS = 7
"""Studies indexed longer ago are not looked at any more."""


@dataclass(frozen=True, slots=True)
class CompleteStudy:
    """A study whose results are to be made, and where they go. `as_of`: what was indexed until then is in them.

    `made_at`: when results of it were made last, under whatever model.
    """

    study_pk: int
    study_instance_uid: Uid
    model_pk: int
    source_ae: AETitle
    results_to: AETitle
    as_of: dt.datetime
    made_at: dt.datetime | None


def released(session: Session, study_instance_uids: Collection[str]) -> None:
    """Note that the association that brought instances of these studies was released."""
    row = StudyReleaseRow
    values = [{"study_instance_uid": uid} for uid in sorted(study_instance_uids)]
    statement = insert(row).values(values)
    session.execute(
        statement.on_conflict_do_update(index_elements=["study_instance_uid"], set_={"released_at": func.now()})
    )


def complete_studies(session: Session, model_pk: int, *, quiet_s: float, limit: int) -> list[CompleteStudy]:
    """Return studies that are complete and have instances that no results were made of yet, under whatever model.

    All of a study is looked at, by this model, and what was asked of its films by sending them is answered or refused.
    Only of senders whose results go somewhere, and not of what we fetched ourselves from a PACS: a back-fill sends it
    no results. `quiet_s` counts for senders that have no time of their own.
    """
    due = _with_new_instances().subquery()
    newest_source = func.array_agg(aggregate_order_by(InstanceRow.source_ae, InstanceRow.received_at.desc()))[1]
    arrived = (
        select(
            SeriesRow.study_pk.label("study_pk"),
            func.max(InstanceRow.received_at).label("last_at"),
            func.count().filter(InstanceRow.state.in_(("received", "indexing"))).label("unfinished"),
            newest_source.label("source_ae"),
        )
        .join(InstanceRow, InstanceRow.series_pk == SeriesRow.pk)
        .where(SeriesRow.study_pk.in_(select(due.c.study_pk)), InstanceRow.called_ae != "")
        .group_by(SeriesRow.study_pk)
        .subquery()
    )
    second = dt.timedelta(seconds=1)
    wait = func.coalesce(PeerRow.quiet_s, quiet_s) * literal(second)
    hung_up = PeerRow.complete_on_release & (StudyReleaseRow.released_at >= arrived.c.last_at)
    quiet = (
        select(StudyRow.pk, StudyRow.study_instance_uid, arrived.c.source_ae, PeerRow.results_to, arrived.c.last_at)
        .join(arrived, arrived.c.study_pk == StudyRow.pk)
        .join(PeerRow, PeerRow.ae_title == arrived.c.source_ae)
        .outerjoin(StudyReleaseRow, StudyReleaseRow.study_instance_uid == StudyRow.study_instance_uid)
        .where(
            visible(),
            PeerRow.results_to != "",
            arrived.c.unfinished == 0,
            or_(arrived.c.last_at + wait <= func.now(), hung_up),
        )
        .cte("quiet")
        .prefix_with("MATERIALIZED")  # few are left to be looked at closely
    )
    now = sql_cast(func.now(), DateTime(timezone=True))
    found = select(
        quiet.c.pk, quiet.c.study_instance_uid, quiet.c.source_ae, quiet.c.results_to, now, _made_at(quiet.c.pk)
    )
    query = found.where(_open_films(quiet.c.pk, model_pk) == 0).order_by(quiet.c.last_at).limit(limit)
    return [
        CompleteStudy(pk, Uid(uid), model_pk, AETitle(source), AETitle(to), now, made_at)
        for pk, uid, source, to, now, made_at in session.execute(query)
    ]


def is_still_due(session: Session, study: CompleteStudy) -> bool:
    """Return whether nobody has made results of a study since it was found complete, and its model is the active one.

    The study is held until the transaction ends: who asks next sees what this one makes.
    """
    held = select(StudyRow.pk).where(StudyRow.pk == study.study_pk).with_for_update(key_share=True)
    if session.scalar(held) is None:  # deleted meanwhile
        return False
    model_pk, made_at = session.execute(select(ACTIVE_PK, _made_at(literal(study.study_pk)))).one()
    return bool(model_pk == study.model_pk and made_at == study.made_at)


def results_made(session: Session, study: CompleteStudy) -> None:
    """Note that the results of a study are in the outbox."""
    row = StudyResultsRow
    values = {"study_pk": study.study_pk, "model_pk": study.model_pk, "made_at": study.as_of}
    statement = insert(row).values(values)
    session.execute(
        statement.on_conflict_do_update(index_elements=["study_pk", "model_pk"], set_={"made_at": study.as_of})
    )
    release = StudyReleaseRow
    session.execute(
        delete(release).where(
            release.study_instance_uid == study.study_instance_uid, release.released_at <= study.as_of
        )
    )


def _made_at(study_pk: ColumnElement[int]) -> ScalarSelect[dt.datetime]:
    row = StudyResultsRow
    return select(func.max(row.made_at)).where(row.study_pk == study_pk).scalar_subquery()


def _open_films(study_pk: ColumnElement[int], model_pk: int) -> ScalarSelect[int]:
    """Count the films of a study that this model has still to look at, or that were sent to ask and have no answer."""
    wanted = WantedAnswerRow
    asked = select(wanted.anchor_instance_pk).where(wanted.way == "A", wanted.state == "waiting")
    of_study = select(func.count()).select_from(InstanceRow).join(SeriesRow, SeriesRow.pk == InstanceRow.series_pk)
    is_open = or_(analyses.unseen(model_pk), InstanceRow.pk.in_(asked))
    return of_study.where(SeriesRow.study_pk == study_pk, is_open).scalar_subquery()


def _with_new_instances() -> Select[int]:
    """Select the studies with instances indexed lately, after their results were made, from whose results go somewhere.

    A new model is no news. Where results go is asked first: a back-fill, or senders without results, leave nothing to
    look through.
    """
    row, results = InstanceRow, StudyResultsRow
    made_since = exists().where(results.study_pk == SeriesRow.study_pk, results.made_at >= row.indexed_at)
    return (
        select(SeriesRow.study_pk)
        .join(row, row.series_pk == SeriesRow.pk)
        .join(PeerRow, PeerRow.ae_title == row.source_ae)
        .where(
            PeerRow.results_to != "",
            row.called_ae != "",
            row.state == InstanceState.INDEXED,
            row.indexed_at > func.now() - dt.timedelta(days=LOOK_BACK_DAYS),
            ~made_since,
        )
        .distinct()
    )
