"""Films by several regions at once, or among studies that pass conditions: every region that may be found is compared.

Filters come first and distances are exact, so that a rare combination gives as many hits as there are. With R regions
asked, a film counts where all of them were found in it. Its similarity is the mean of its R similarities; its mean rank
is the mean of its R ranks, each among all films that may be found and have that region (equal similarity, equal rank).
"""

from collections.abc import Mapping, Sequence

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import cast, func, select, union_all
from sqlalchemy.orm import Session

from db.embeddings import Neighbour, NeighbourFilter
from db.find import Condition, studies_that_pass
from db.tables import EmbeddingRow
from regionmir.core.records import Vector


def nearest_films(
    session: Session,
    *,
    model_pk: int,
    dim: int,
    vectors: Mapping[int, Vector],
    limit: int,
    filters: NeighbourFilter,
    conditions: Sequence[Condition] = (),
    by_rank: bool = False,
) -> list[Neighbour]:
    """Return up to `limit` films most like `vectors` (D,), unit vectors by anatomy; `region_pk` is of the first.

    Best mean similarity first, or best mean rank first where `by_rank`. Of `filters` only the exclusions count.
    """
    row = EmbeddingRow
    parts = []
    for order, (anatomy_pk, vector) in enumerate(vectors.items()):
        similarity = -row.v.max_inner_product(cast(vector, HALFVEC(dim)))
        part = select(
            row.instance_pk,
            row.study_pk,
            row.patient_pk,
            row.region_pk,
            row.pixel_sha256,
            row.view,
            similarity.label("similarity"),
            func.rank().over(order_by=similarity.desc()).label("place"),
            cast(order, row.anatomy_pk.type).label("nth"),
        ).where(row.model_pk == model_pk, row.anatomy_pk == anatomy_pk)
        if filters.exclude_patient_pk is not None:
            part = part.where(row.patient_pk != filters.exclude_patient_pk)
        if filters.exclude_study_pk is not None:
            part = part.where(row.study_pk != filters.exclude_study_pk)
        if filters.exclude_pixel_sha256 is not None:
            part = part.where(row.pixel_sha256 != filters.exclude_pixel_sha256)
        if conditions:
            part = part.where(row.study_pk.in_(studies_that_pass(conditions)))
        parts.append(part)
    near = union_all(*parts).subquery("near")
    mean = func.avg(near.c.similarity)
    query = (
        select(
            near.c.instance_pk,
            func.min(near.c.study_pk),
            func.min(near.c.patient_pk),
            func.min(near.c.region_pk).filter(near.c.nth == 0),
            func.min(near.c.pixel_sha256),
            func.min(near.c.view),
            mean,
        )
        .group_by(near.c.instance_pk)
        .having(func.count() == len(vectors))
        .order_by(*([func.avg(near.c.place)] if by_rank else []), mean.desc(), near.c.instance_pk)
        .limit(limit)
    )
    return [Neighbour(*found) for found in session.execute(query)]
