"""Films by several regions at once, or among studies that pass conditions: every region that may be found is compared.

Filters come first and distances are exact, so that a rare combination gives as many hits as there are. With R regions
asked, a film counts where all of them were found in it. Its similarity is the mean of its R similarities; its mean rank
is the mean of its R ranks, each among all films that may be found and have that region (equal similarity, equal rank).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import ColumnElement, Select, cast, func, literal, select, text, union_all
from sqlalchemy.orm import Session

from db.embeddings import FILTER_CONDITIONS, Neighbour, NeighbourFilter
from db.find import Condition, Days, Form, OneOf, studies_that_pass
from db.tables import EmbeddingRow
from db.visibility import of_visible_study
from regionmir.core.records import Vector
from regionmir.core.terms import SEXES


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

    Best mean similarity first, or best mean rank first where `by_rank`.
    """
    allowed = _allowed(filters, conditions)
    parts = [
        _part(nth, vector, dim, by_rank=by_rank and len(vectors) > 1).where(
            EmbeddingRow.model_pk == model_pk, EmbeddingRow.anatomy_pk == anatomy_pk, *allowed
        )
        for nth, (anatomy_pk, vector) in enumerate(vectors.items())
    ]
    query = _combined(parts, by_rank=by_rank) if len(parts) > 1 else parts[0].order_by(text("similarity DESC"))
    return [Neighbour(*found[:_COLUMNS]) for found in session.execute(query.limit(limit))]


_COLUMNS: Final = 8
"""Of a `Neighbour`, in its order; what follows them serves to combine."""


def leaf_filters(filters: NeighbourFilter, conditions: Sequence[Condition]) -> NeighbourFilter | None:
    """Return `filters` with these conditions as filters by columns of the leaf itself, None where one is of no column.

    A range of dates as received, or one sex: no join with the studies is needed, and the index may be used.
    """
    for condition in conditions:
        found = _by_column(condition)
        if found is None or any(getattr(filters, name) is not None for name in found):
            return None
        filters = replace(filters, **found)
    return filters


def _by_column(condition: Condition) -> dict[str, Any] | None:
    """Return the fields of `NeighbourFilter` that mean the same as a condition, None where none do."""
    field = condition.field
    if condition.time is not None or len(condition.tests) != 1:
        return None
    match field.tag, field.form, condition.tests[0]:
        case ("00080020", Form.ORIGINAL, Days(days)) if days.first or days.last:  # StudyDate
            asked = {"study_date_first": days.first, "study_date_last": days.last}
            return {name: day for name, day in asked.items() if day is not None}
        case ("00100040", Form.ORIGINAL | Form.KNOWN, OneOf((sex,))) if sex in SEXES:  # PatientSex
            return {"sex": sex}
    return None


def _allowed(filters: NeighbourFilter, conditions: Sequence[Condition]) -> list[ColumnElement[bool]]:
    row = EmbeddingRow
    asked = asdict(filters).items()
    found = [FILTER_CONDITIONS[name](row, literal(value)) for name, value in asked if value is not None]
    found.append(of_visible_study(row.study_pk))
    return [*found, row.study_pk.in_(studies_that_pass(conditions))] if conditions else found


def _part(nth: int, vector: Vector, dim: int, *, by_rank: bool) -> Select[Any]:
    """Return the statement that compares the films by one region; `place` is their rank by it, where ranks count."""
    row = EmbeddingRow
    similarity = -row.v.max_inner_product(cast(vector, HALFVEC(dim)))
    place = func.rank().over(order_by=similarity.desc()) if by_rank else literal(0)
    return select(
        row.instance_pk,
        row.study_pk,
        row.patient_pk,
        row.region_pk,
        row.pixel_sha256,
        row.view,
        row.age_years,
        similarity.label("similarity"),
        place.label("place"),
        literal(nth).label("nth"),
    )


def _combined(parts: Sequence[Select[Any]], *, by_rank: bool) -> Select[Any]:
    """Return the statement that takes the means of each film in which every region was found."""
    near = union_all(*parts).subquery("near")
    mean = func.avg(near.c.similarity)
    first = near.c.nth == 0
    return (
        select(
            near.c.instance_pk,
            func.min(near.c.study_pk),
            func.min(near.c.patient_pk),
            func.min(near.c.region_pk).filter(first),
            func.min(near.c.pixel_sha256).filter(first),
            func.min(near.c.view).filter(first),
            func.min(near.c.age_years).filter(first),
            mean,
        )
        .group_by(near.c.instance_pk)
        .having(func.count() == len(parts))
        .order_by(*([func.avg(near.c.place)] if by_rank else []), mean.desc(), near.c.instance_pk)
    )
