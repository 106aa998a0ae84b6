"""What each generation said of each instance, and what it has still to look at: work of its own, beside `instance`.

The active generation is asked first, through `instance` (`db.instances`). What it said is recorded here in the same
transaction, and every other generation that is kept up to date gets the instance to look at: so none misses one.
Newest arrivals first; a claim is a lease, and what is written twice is written once.
"""

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, ScalarSelect, and_, case, delete, exists, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db import in_order
from db import regions as regions_
from db.filing import clean
from db.tables import AnalysisRow, InstanceRow, ModelRow
from regionmir.core.identifiers import Uid
from regionmir.core.records import EmbeddedRegion, InstanceState

MAX_ATTEMPTS: Final = 5
"""The index `analysis_hopeless` holds what was tried so often."""

NOT_A_CHEST: Final = "not a frontal chest radiograph"
NO_REGION: Final = "no region found"
BY_A_MODEL: Final = (NOT_A_CHEST, NO_REGION)
"""Reasons that are one model's judgement of a film: another may judge otherwise."""

_RATE_WINDOW = dt.timedelta(minutes=10)
_WORD_WAITING = "waiting"
_BEGUN = AnalysisRow.state.in_((_WORD_WAITING, InstanceState.INDEXING))


@dataclass(frozen=True, slots=True)
class ClaimedFilm:
    """An instance that a generation is to look at, held under a lease."""

    instance_pk: int
    sop_instance_uid: Uid
    sop_class_uid: Uid
    storage_key: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a generation says of a film; regions, pixels' hash and view where it is indexed."""

    state: InstanceState
    reason: str = ""
    regions: Sequence[EmbeddedRegion] = ()
    pixel_sha256: str = ""
    pipeline_hash: str = ""
    view: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a generation is: instances by state, those that it is to look at among them."""

    counts: dict[str, int]
    pending: int
    """Instances that it has still to look at."""
    per_s: float
    """Instances that it looked at in a second, lately."""

    @property
    def left_s(self) -> float | None:
        """Return in how many seconds it will have looked at all, None where that cannot be told."""
        if not self.pending:
            return 0.0
        return self.pending / self.per_s if self.per_s else None


def record(
    session: Session, instance_pks: Sequence[int], model_pk: int, state: InstanceState, reason: str = ""
) -> None:
    """Record what the active generation said of instances, and let all others look at them that are kept up to date."""
    row, model = AnalysisRow, ModelRow
    own = model.pk == model_pk
    columns = [
        model.pk,
        InstanceRow.pk,
        case((own, state.value), else_=_WORD_WAITING),
        case((own, clean(reason)), else_=""),
        InstanceRow.received_at,
        case((own, func.now())),
    ]
    lines = select(*columns).join_from(InstanceRow, model, or_(own, model.status != "retired"))
    lines = lines.where(InstanceRow.pk.in_(list(instance_pks))).order_by(InstanceRow.pk, model.pk)
    added = insert(row).from_select(["model_pk", "instance_pk", "state", "reason", "received_at", "ended_at"], lines)
    new = added.excluded
    session.execute(
        added.on_conflict_do_update(
            index_elements=[row.model_pk, row.instance_pk],
            set_={
                "state": new.state,
                "reason": new.reason,
                "received_at": new.received_at,
                "ended_at": new.ended_at,
                "attempts": 0,
                "lease_until": None,
            },
        )
    )


def enqueue_missing(session: Session, model_pk: int) -> int:
    """Let a generation look at every instance that it has not heard of; return how many. Safe to run again."""
    row = AnalysisRow
    lines = select(literal(model_pk), InstanceRow.pk, literal(_WORD_WAITING), InstanceRow.received_at)
    added = insert(row).from_select(
        ["model_pk", "instance_pk", "state", "received_at"], lines.where(_missing(model_pk)).order_by(InstanceRow.pk)
    )
    return int(session.execute(added.on_conflict_do_nothing()).rowcount)  # type: ignore[attr-defined]


def retry_failed(session: Session, model_pk: int) -> int:
    """Let a generation look again at what it failed at; return how many."""
    row = AnalysisRow
    again = update(row).where(row.model_pk == model_pk, row.state == InstanceState.FAILED)
    done = session.execute(again.values(state=_WORD_WAITING, reason="", attempts=0, ended_at=None))
    return int(done.rowcount)  # type: ignore[attr-defined]


def claim(session: Session, model_pk: int, limit: int, lease_s: float) -> list[ClaimedFilm]:
    """Take up to `limit` instances for a generation, newest arrivals first, for `lease_s` seconds.

    One that was taken before and not finished may have killed its worker: it is taken alone. What did so
    `MAX_ATTEMPTS` times is given up.
    """
    row = AnalysisRow
    _give_up(session, model_pk)
    first = select(row.instance_pk, row.attempts).where(row.model_pk == model_pk, _claimable())
    ordered = first.order_by(row.received_at.desc(), row.instance_pk.desc()).limit(limit)
    found = session.execute(ordered.with_for_update(skip_locked=True)).all()
    taken = [pk for pk, attempts in found if attempts == 0] or [pk for pk, _ in found[:1]]
    if not taken:
        return []
    session.execute(
        update(row)
        .where(row.model_pk == model_pk, row.instance_pk.in_(taken))
        .values(
            state=InstanceState.INDEXING,
            attempts=row.attempts + 1,
            lease_until=func.now() + dt.timedelta(seconds=lease_s),
        )
    )
    instance = InstanceRow
    films = select(instance.pk, instance.sop_instance_uid, instance.sop_class_uid, instance.storage_key)
    lines = session.execute(films.where(instance.pk.in_(taken)).order_by(instance.pk))
    return [ClaimedFilm(pk, Uid(sop), Uid(sop_class), key) for pk, sop, sop_class, key in lines]


def release(session: Session, model_pk: int, instance_pks: Sequence[int]) -> None:
    """Give back what was claimed and not looked at; the attempt does not count."""
    row = AnalysisRow
    mine = (row.model_pk == model_pk) & row.instance_pk.in_(list(instance_pks)) & (row.state == InstanceState.INDEXING)
    session.execute(
        update(row)
        .where(mine)
        .values(state=_WORD_WAITING, lease_until=None, attempts=func.greatest(row.attempts - 1, 0))
    )


def finish(session: Session, model_pk: int, film: ClaimedFilm, said: Judgement) -> bool:
    """File what a generation says of a film, which counts for searches where it is active; False where it no longer
    counts at all.

    That is so where the instance was corrected meanwhile, another worker was first, or the generation was retired.
    """
    if not _still_wanted(session, model_pk, film):
        return False
    values = {"state": said.state, "reason": clean(said.reason)[:200], "ended_at": func.now(), "lease_until": None}
    row = AnalysisRow
    mine = (row.model_pk == model_pk) & (row.instance_pk == film.instance_pk) & (row.state == InstanceState.INDEXING)
    if not session.execute(update(row).where(mine).values(values)).rowcount:  # type: ignore[attr-defined]
        return False
    if said.state is InstanceState.INDEXED:
        _note_pixels(session, film, said)
        regions_.replace(session, model_pk, {film.instance_pk: said.regions})
    else:
        regions_.drop(session, [film.instance_pk], model_pk)
    adopt(session, model_pk, film.instance_pk)
    return True


def hold(session: Session, model_pk: int) -> bool:
    """Keep a generation from being retired or activated until the transaction ends; False where it is retired.

    To be called before instances are locked: whoever activates takes them in this order.
    """
    model = ModelRow
    kept = select(model.pk).where(model.pk == model_pk, model.status != "retired").with_for_update(read=True)
    return session.scalar(kept) is not None


def pending(session: Session, model_pk: int) -> int:
    """Return how many instances a generation has still to look at."""
    row = AnalysisRow
    queued = select(func.count()).select_from(row).where(row.model_pk == model_pk, _BEGUN)
    unheard = select(func.count()).select_from(InstanceRow).where(_missing(model_pk))
    return (session.scalar(queued) or 0) + (session.scalar(unheard) or 0)


def progress(session: Session, model_pk: int) -> Progress:
    """Return how far a generation is."""
    row = AnalysisRow
    of_model = row.model_pk == model_pk
    counts = session.execute(select(row.state, func.count()).where(of_model).group_by(row.state)).all()
    lately = func.now() - _RATE_WINDOW
    ended = select(func.count(), func.extract("epoch", func.now() - func.min(row.ended_at)))
    done, within_s = session.execute(ended.where(of_model, row.ended_at > lately)).one()
    return Progress(dict(counts), pending(session, model_pk), done / max(float(within_s), 1.0) if done else 0.0)


def has_unseen(session: Session, model_pk: int, instance_pks: Collection[int]) -> bool:
    """Return whether a generation has still to look at one of these instances."""
    query = select(InstanceRow.pk).where(InstanceRow.pk.in_(list(instance_pks)), unseen(model_pk)).limit(1)
    return session.scalar(query) is not None


def unseen(model_pk: "int | ScalarSelect[int]") -> ColumnElement[bool]:
    """Return the condition that a model has judged an instance, and this generation has still to look at it."""
    row = AnalysisRow
    queued = exists().where(row.model_pk == model_pk, row.instance_pk == InstanceRow.pk, _BEGUN)
    return or_(queued, _missing(model_pk))


def forget(session: Session, model_pk: int) -> None:
    """Forget what a generation said: its embeddings are dropped."""
    session.execute(delete(AnalysisRow).where(AnalysisRow.model_pk == model_pk))


def adopt(session: Session, model_pk: int, instance_pk: int | None = None) -> None:
    """Give instances, or one, the state that this generation gave them where it is the one that answers.

    One that is taken for the first time counts as indexed when it came: what came long ago is no news to anybody.
    """
    row, instance, model = AnalysisRow, InstanceRow, ModelRow
    judged = (InstanceState.INDEXED, InstanceState.UNSUPPORTED)
    said = row.model_pk == model_pk, row.instance_pk == instance.pk
    differs = [
        *said,
        model.pk == row.model_pk,
        model.status == "active",
        row.state.in_(judged),
        row.state != instance.state,
        or_(instance.state == InstanceState.INDEXED, _judged_by_a_model()),
    ]
    if instance_pk is not None:
        differs.append(instance.pk == instance_pk)
    indexed_at = func.coalesce(instance.indexed_at, instance.received_at)
    adopted = in_order.updating(*differs).where(*said)
    session.execute(adopted.values(state=row.state, reason=row.reason, indexed_at=indexed_at))


def _judged_by_a_model() -> ColumnElement[bool]:
    return and_(InstanceRow.state == InstanceState.UNSUPPORTED, InstanceRow.reason.in_(BY_A_MODEL))


def _missing(model_pk: "int | ScalarSelect[int]") -> ColumnElement[bool]:
    """Return the condition that a model has judged an instance, and this generation has not heard of it."""
    heard = exists().where(AnalysisRow.model_pk == model_pk, AnalysisRow.instance_pk == InstanceRow.pk)
    return and_(or_(InstanceRow.state == InstanceState.INDEXED, _judged_by_a_model()), ~heard)


def _claimable() -> ColumnElement[bool]:
    row = AnalysisRow
    expired = and_(row.state == InstanceState.INDEXING, row.lease_until < func.now())
    return or_(row.state == _WORD_WAITING, expired)


def _give_up(session: Session, model_pk: int) -> None:
    row = AnalysisRow
    session.execute(
        update(row)
        .where(row.model_pk == model_pk, _claimable(), row.attempts >= MAX_ATTEMPTS)
        .values(
            state=InstanceState.FAILED,
            reason=f"crashed the worker {MAX_ATTEMPTS} times",
            lease_until=None,
            ended_at=func.now(),
        )
    )


def _still_wanted(session: Session, model_pk: int, film: ClaimedFilm) -> bool:
    """Lock the generation and the instance; say whether both are as they were when the film was claimed."""
    instance = InstanceRow
    same = select(instance.pk).where(instance.pk == film.instance_pk, instance.storage_key == film.storage_key)
    return hold(session, model_pk) and session.scalar(same.with_for_update()) is not None


def _note_pixels(session: Session, film: ClaimedFilm, said: Judgement) -> None:
    """Note what only decoding tells, where no generation before had got so far."""
    instance = InstanceRow
    values = {"pixel_sha256": said.pixel_sha256, "pipeline_hash": said.pipeline_hash}
    values |= {"view": said.view} if said.view else {}
    unknown = update(instance).where(instance.pk == film.instance_pk, instance.pixel_sha256.is_(None))
    session.execute(unknown.values(values))
