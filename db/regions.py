"""The regions of an instance with their embeddings: written together, dropped together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from db.tables import AnalysisRow, EmbeddingRow, InstanceRow, PatientRow, RegionRow, SeriesRow, StudyRow
from regionmir.core.anatomy import anatomy_by_key
from regionmir.core.geometry import Box
from regionmir.core.records import DetectedRegion, EmbeddedRegion


@dataclass(frozen=True, slots=True)
class FiledRegion:
    """A region as it is filed: of which model, with its keys."""

    pk: int
    instance_pk: int
    model_pk: int
    region: DetectedRegion


def of_instances(session: Session, instance_pks: Sequence[int], model_pk: int | None = None) -> list[FiledRegion]:
    """Return the regions of these instances, of one model or of all, in the order of anatomies."""
    query = select(RegionRow).where(RegionRow.instance_pk.in_(list(instance_pks)))
    if model_pk is not None:
        query = query.where(RegionRow.model_pk == model_pk)
    rows = session.scalars(query.order_by(RegionRow.instance_pk, RegionRow.model_pk, RegionRow.anatomy_pk))
    return [
        FiledRegion(
            row.pk,
            row.instance_pk,
            row.model_pk,
            DetectedRegion(anatomy_by_key(row.anatomy_pk), Box(row.x0, row.y0, row.x1, row.y1), row.score),
        )
        for row in rows
    ]


def replace(session: Session, instance_pk: int, model_pk: int, regions: Sequence[EmbeddedRegion]) -> None:
    """Make `regions` the only ones that this model has of this instance.

    The instance's row must be locked and already carry its `pixel_sha256` and `view`.
    """
    drop(session, [instance_pk], model_pk)
    if not regions:
        return
    filters = _filter_columns(session, instance_pk)
    boxes = [_region_values(instance_pk, model_pk, found.region) for found in regions]
    added = insert(RegionRow).returning(RegionRow.anatomy_pk, RegionRow.pk)
    pks = dict(session.execute(added, boxes).all())
    session.execute(
        insert(EmbeddingRow),
        [
            {
                **filters,
                "model_pk": model_pk,
                "anatomy_pk": found.region.anatomy.key,
                "region_pk": pks[found.region.anatomy.key],
                "v": found.vector,
            }
            for found in regions
        ],
    )


def drop(session: Session, instance_pks: Sequence[int], model_pk: int | None = None) -> int:
    """Remove the regions of these instances, of one model or of all; return how many there were.

    Of all: also what any model said of them, as they are not what they were.
    """
    if model_pk is None:
        session.execute(delete(AnalysisRow).where(AnalysisRow.instance_pk.in_(list(instance_pks))))
    regions = delete(RegionRow).where(RegionRow.instance_pk.in_(list(instance_pks)))
    if model_pk is not None:
        regions = regions.where(RegionRow.model_pk == model_pk)
    models = set(session.scalars(regions.returning(RegionRow.model_pk)).all())
    removed = 0
    for model in models:  # one at a time: only the leaves of that model are touched
        embeddings = delete(EmbeddingRow).where(
            EmbeddingRow.model_pk == model, EmbeddingRow.instance_pk.in_(list(instance_pks))
        )
        removed += session.execute(embeddings).rowcount  # type: ignore[attr-defined]
    return removed


def refresh_filters(session: Session, *, patient_pk: int, study_pk: int) -> None:
    """Carry a corrected sex and study date over to the embeddings that exist."""
    sex = select(PatientRow.sex).where(PatientRow.pk == patient_pk).scalar_subquery()
    day = select(StudyRow.study_date).where(StudyRow.pk == study_pk).scalar_subquery()
    row = EmbeddingRow
    session.execute(update(row).where(row.patient_pk == patient_pk, row.sex != sex).values(sex=sex))
    session.execute(
        update(row).where(row.study_pk == study_pk, row.study_date.is_distinct_from(day)).values(study_date=day)
    )


def _filter_columns(session: Session, instance_pk: int) -> dict[str, Any]:
    query = (
        select(
            InstanceRow.pk.label("instance_pk"),
            StudyRow.pk.label("study_pk"),
            PatientRow.pk.label("patient_pk"),
            StudyRow.study_date,
            PatientRow.sex,
            InstanceRow.age_years,
            InstanceRow.view,
            InstanceRow.pixel_sha256,
        )
        .join(SeriesRow, SeriesRow.pk == InstanceRow.series_pk)
        .join(StudyRow, StudyRow.pk == SeriesRow.study_pk)
        .join(PatientRow, PatientRow.pk == StudyRow.patient_pk)
        .where(InstanceRow.pk == instance_pk)
    )
    return dict(session.execute(query).mappings().one())


def _region_values(instance_pk: int, model_pk: int, region: DetectedRegion) -> dict[str, Any]:
    x0, y0, x1, y1 = region.box.as_tuple()
    return {
        "instance_pk": instance_pk,
        "model_pk": model_pk,
        "anatomy_pk": region.anatomy.key,
        "x0": x0,
        "y0": y0,
        "x1": x1,
        "y1": y1,
        "score": region.score,
    }
