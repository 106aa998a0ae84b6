"""The regions of an instance with their embeddings: written together, dropped together."""

import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session

from db.binary_copy import COPY_END, COPY_HEADER, BigInt, packed_halfvecs, packed_values
from db.engine import copying
from db.tables import AnalysisRow, EmbeddingRow, InstanceRow, PatientRow, RegionRow, SeriesRow, StudyRow
from regionmir.core.anatomy import anatomy_by_key
from regionmir.core.geometry import Box
from regionmir.core.records import DetectedRegion, EmbeddedRegion, Vector

_COPY_EMBEDDINGS: Final = (
    "COPY embedding (instance_pk, model_pk, anatomy_pk, region_pk, study_pk, patient_pk, study_date, sex, age_years, "
    "view, pixel_sha256, v) FROM STDIN (FORMAT BINARY)"
)
_EDGES: Final = ("x0", "y0", "x1", "y1")
_ADD_BOXES: Final = text(
    "INSERT INTO region (model_pk, instance_pk, anatomy_pk, x0, y0, x1, y1, score) "
    "SELECT :model_pk, * FROM unnest(CAST(:instance_pk AS bigint[]), CAST(:anatomy_pk AS smallint[]), "
    "CAST(:x0 AS float8[]), CAST(:y0 AS float8[]), CAST(:x1 AS float8[]), CAST(:y1 AS float8[]), "
    "CAST(:score AS float8[])) RETURNING instance_pk, anatomy_pk, pk"
)
_REFRESH: Final = text(
    "UPDATE embedding e SET study_pk = s.pk, patient_pk = p.pk, sex = p.sex, study_date = s.study_date "
    "FROM study s JOIN patient p ON p.pk = s.patient_pk JOIN series ON series.study_pk = s.pk "
    "JOIN instance i ON i.series_pk = series.pk JOIN region r ON r.instance_pk = i.pk "
    "WHERE s.pk = ANY (:studies) AND e.model_pk = r.model_pk AND e.anatomy_pk = r.anatomy_pk AND e.region_pk = r.pk "
    "AND (e.study_pk, e.patient_pk, e.sex, e.study_date) IS DISTINCT FROM (s.pk, p.pk, p.sex, s.study_date)"
)
_OWN: Final = struct.Struct(">hiqiiihiq")
"""Of a line of `_COPY_EMBEDDINGS`: the number of its fields, and the first four, each behind its length."""


@dataclass(frozen=True, slots=True)
class FiledRegion:
    """A region as it is filed: of which model, with its keys."""

    pk: int
    instance_pk: int
    model_pk: int
    region: DetectedRegion


@dataclass(frozen=True, slots=True)
class _Line:
    """One region on its way into the tables."""

    instance_pk: int
    region: DetectedRegion
    vector: Vector


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


def replace(session: Session, model_pk: int, found: Mapping[int, Sequence[EmbeddedRegion]]) -> None:
    """Make these the only regions that this model has of these instances, by key.

    The instances' rows must be locked and already carry their `pixel_sha256` and `view`.
    """
    drop(session, list(found), model_pk)
    lines = [_Line(instance_pk, one.region, one.vector) for instance_pk, regions in found.items() for one in regions]
    if not lines:
        return
    pks = _add_boxes(session, model_pk, lines)
    filters = {
        pk: packed_values(BigInt(study_pk), BigInt(patient_pk), *values)
        for pk, study_pk, patient_pk, *values in _filter_columns(session, found)
    }
    packed = [COPY_HEADER]
    for line, vector in zip(lines, packed_halfvecs([line.vector for line in lines]), strict=True):
        anatomy_pk = line.region.anatomy.key
        region_pk = pks[line.instance_pk, anatomy_pk]
        own = _OWN.pack(12, 8, line.instance_pk, 4, model_pk, 2, anatomy_pk, 8, region_pk)
        packed += [own, filters[line.instance_pk], vector]
    with copying(session, _COPY_EMBEDDINGS) as copy:
        copy.write(b"".join([*packed, COPY_END]))


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


def wait_for_writers(session: Session, study_pks: Collection[int]) -> None:
    """Hold the studies' instances until we commit, so that a change of whose they are reaches all their embeddings.

    Workers read that, and write it to embeddings, while they hold the instances: in the order of keys, as we do.
    """
    row = InstanceRow
    theirs = select(row.pk).join(SeriesRow, SeriesRow.pk == row.series_pk).where(SeriesRow.study_pk.in_(study_pks))
    session.execute(theirs.order_by(row.pk).with_for_update(of=row, key_share=True))


def refresh_filters(session: Session, study_pks: Collection[int]) -> None:
    """Carry over to the embeddings that exist in whose study, of what date, their films are, and that patient's sex."""
    session.execute(_REFRESH, {"studies": list(study_pks)})


def _filter_columns(session: Session, instance_pks: Iterable[int]) -> Sequence[Sequence[Any]]:
    """Return (instance, and what `_COPY_EMBEDDINGS` has of it) for each instance."""
    query = (
        select(
            InstanceRow.pk,
            StudyRow.pk,
            PatientRow.pk,
            StudyRow.study_date,
            PatientRow.sex,
            InstanceRow.age_years,
            InstanceRow.view,
            InstanceRow.pixel_sha256,
        )
        .join(SeriesRow, SeriesRow.pk == InstanceRow.series_pk)
        .join(StudyRow, StudyRow.pk == SeriesRow.study_pk)
        .join(PatientRow, PatientRow.pk == StudyRow.patient_pk)
        .where(InstanceRow.pk.in_(list(instance_pks)))
    )
    return session.execute(query).all()


def _add_boxes(session: Session, model_pk: int, lines: Sequence[_Line]) -> dict[tuple[int, int], int]:
    """Add the regions; return their keys by instance and anatomy."""
    edges = zip(*(line.region.box.as_tuple() for line in lines), strict=True)
    values: dict[str, Any] = {name: list(map(float, edge)) for name, edge in zip(_EDGES, edges, strict=True)}
    values["instance_pk"] = [line.instance_pk for line in lines]
    values["anatomy_pk"] = [line.region.anatomy.key for line in lines]
    values["score"] = [float(line.region.score) for line in lines]
    added = session.execute(_ADD_BOXES, {**values, "model_pk": model_pk})
    return {(instance_pk, anatomy_pk): pk for instance_pk, anatomy_pk, pk in added}
