"""Relevance feedback: what people say of hits, one opinion per person and pair; training reads it later."""

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.tables import RelevanceFeedbackRow
from regionmir.core.anatomy import Anatomy
from regionmir.core.geometry import Box


@dataclass(frozen=True, slots=True)
class Pair:
    """A hit and what it was found for: a region of an instance as one model found it, or a drawn box there."""

    model_pk: int
    anatomy: Anatomy
    query_instance_pk: int
    hit_instance_pk: int
    box: Box | None = None


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one person said of one pair."""

    actor: str
    pair: Pair
    relevant: bool
    given_at: dt.datetime


def give(session: Session, actor: str, pair: Pair, *, relevant: bool) -> None:
    """Keep what `actor` says of a pair, in place of what they said before."""
    statement = insert(RelevanceFeedbackRow).values(actor=actor, relevant=relevant, **_key(pair))
    changed = {"relevant": relevant, "given_at": func.now()}
    session.execute(statement.on_conflict_do_update(constraint="relevance_feedback_once", set_=changed))


def withdraw(session: Session, actor: str, pair: Pair) -> None:
    """Forget what `actor` said of a pair."""
    row = RelevanceFeedbackRow
    same = (getattr(row, name).is_not_distinct_from(value) for name, value in _key(pair).items())
    session.execute(delete(row).where(row.actor == actor, *same))


def given(session: Session, actor: str, asked: Pair, hit_instance_pks: Collection[int]) -> dict[int, bool]:
    """Return what `actor` said of these hits of one question, by instance; `asked` may name any hit."""
    row = RelevanceFeedbackRow
    key = {name: value for name, value in _key(asked).items() if name != "hit_instance_pk"}
    same = (getattr(row, name).is_not_distinct_from(value) for name, value in key.items())
    query = select(row.hit_instance_pk, row.relevant).where(
        row.actor == actor, *same, row.hit_instance_pk.in_(list(hit_instance_pks))
    )
    return dict(session.execute(query).all())


def _key(pair: Pair) -> dict[str, object]:
    return {
        "model_pk": pair.model_pk,
        "anatomy_pk": pair.anatomy.key,
        "query_instance_pk": pair.query_instance_pk,
        "hit_instance_pk": pair.hit_instance_pk,
        "box": None if pair.box is None else list(pair.box.as_tuple()),
    }
