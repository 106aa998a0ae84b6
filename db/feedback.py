"""Relevance feedback: what people say of hits, one opinion per person and pair; training reads it later."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.browse import BrowsedInstance, instances_by_pk, patients_of
from db.tables import RelevanceFeedbackRow
from regionmir.core.anatomy import Anatomy, anatomy_by_key
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
class Judged:
    """A pair and how many people said of it that the hit is relevant, and that it is not. Patients are pseudonyms."""

    pair: Pair
    query: BrowsedInstance
    query_patient: str
    hit: BrowsedInstance
    hit_patient: str
    relevant: int
    not_relevant: int


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


def judged(session: Session, model_pk: int) -> list[Judged]:
    """Return all pairs of a model of which somebody said something, the oldest first; none of a hidden study."""
    row = RelevanceFeedbackRow
    pair = (row.anatomy_pk, row.query_instance_pk, row.hit_instance_pk, row.box)
    yes = func.count().filter(row.relevant)
    query = select(*pair, yes, func.count() - yes).where(row.model_pk == model_pk)
    found = list(session.execute(query.group_by(*pair).order_by(func.min(row.pk))))
    pks = {pk for _, query_pk, hit_pk, *_ in found for pk in (query_pk, hit_pk)}
    films = instances_by_pk(session, pks, model_pk=model_pk)
    patients = patients_of(session, {film.study_pk for film in films.values()})
    return [
        Judged(
            Pair(model_pk, anatomy_by_key(anatomy_pk), query_pk, hit_pk, None if box is None else Box(*box)),
            films[query_pk],
            patients[films[query_pk].study_pk],
            films[hit_pk],
            patients[films[hit_pk].study_pk],
            relevant,
            not_relevant,
        )
        for anatomy_pk, query_pk, hit_pk, box, relevant, not_relevant in found
        if query_pk in films and hit_pk in films
    ]


def _key(pair: Pair) -> dict[str, object]:
    return {
        "model_pk": pair.model_pk,
        "anatomy_pk": pair.anatomy.key,
        "query_instance_pk": pair.query_instance_pk,
        "hit_instance_pk": pair.hit_instance_pk,
        "box": None if pair.box is None else list(pair.box.as_tuple()),
    }
