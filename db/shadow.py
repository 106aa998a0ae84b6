"""Regions that two generations both found: what they are asked to compare them."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from db.tables import EmbeddingRow
from db.visibility import of_visible_study


@dataclass(frozen=True, slots=True)
class SharedRegion:
    """One region of one instance, embedded by both generations."""

    instance_pk: int
    study_pk: int
    patient_pk: int
    pixel_sha256: str


def shared_regions(session: Session, model_pks: tuple[int, int], anatomy_pk: int, limit: int) -> list[SharedRegion]:
    """Return up to `limit` instances in which both generations found an anatomy: the same ones at each call."""
    one, other = aliased(EmbeddingRow), aliased(EmbeddingRow)
    query = (
        select(one.instance_pk, one.study_pk, one.patient_pk, one.pixel_sha256)
        .join(other, other.instance_pk == one.instance_pk)
        .where(one.model_pk == model_pks[0], one.anatomy_pk == anatomy_pk)
        .where(other.model_pk == model_pks[1], other.anatomy_pk == anatomy_pk)
        .where(of_visible_study(one.study_pk))
        .order_by(func.hashint8(one.instance_pk), one.instance_pk)
        .limit(limit)
    )
    return [SharedRegion(*line) for line in session.execute(query)]
