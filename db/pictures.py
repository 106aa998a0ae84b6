"""What a small picture of a film is drawn from, by one statement. Reads only."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Integer, Select, and_, bindparam, select
from sqlalchemy.orm import Session

from db.browse import BURNED_IN_ANNOTATION, ORIENTATION
from db.generations import ACTIVE_PK
from db.pseudonyms import INSTANCE
from db.retrieve import joined_values
from db.tables import InstanceRow, PseudonymRow, RegionRow, RenditionRow, SeriesRow, StudyRow
from db.visibility import visible
from regionmir.core.anatomy import Anatomy
from regionmir.core.geometry import Box


@dataclass(frozen=True, slots=True)
class Pictured:
    """A film of a visible study, as `db.browse.BrowsedInstance` says it, with no more than a small picture needs."""

    pk: int
    sop_class_uid: str
    storage_key: str
    rows: int | None
    columns: int | None
    burned_in_annotation: str
    orientation: dict[str, Any]
    box: Box | None
    """The region asked for, stored pixels; None where none was, or the active model did not find it."""
    rendition: bytes | None
    """The one that is kept, None where there is none of the wanted kind."""


def find(session: Session, uid: str, drawn_by: str, anatomy: Anatomy | None = None) -> Pictured | None:
    """Return the film with this pseudonymous UID, None if there is none, with its rendition if it was drawn so."""
    asked = {"uid": uid, "drawn_by": drawn_by, "anatomy": anatomy and anatomy.key}
    found = session.execute(_query(), asked).one_or_none()
    if found is None:
        return None
    pk, sop_class, key, rows, columns, burned_in, x0, y0, x1, y1, rendition, *orientation = found
    return Pictured(
        pk=pk,
        sop_class_uid=sop_class,
        storage_key=key,
        rows=rows,
        columns=columns,
        burned_in_annotation=joined_values(burned_in),
        orientation={tag: element for tag, element in zip(ORIENTATION, orientation, strict=True) if element},
        box=None if x0 is None else Box(x0, y0, x1, y1),
        rendition=rendition,
    )


@cache
def _query() -> Select[*tuple[Any, ...]]:
    """Return the statement: made once, as making it costs more than running it."""
    row, region, rendition = InstanceRow, RegionRow, RenditionRow
    of_region = and_(
        region.instance_pk == row.pk,
        region.model_pk == ACTIVE_PK,
        region.anatomy_pk == bindparam("anatomy", type_=Integer),
    )
    kept = and_(rendition.instance_pk == row.pk, rendition.drawn_by == bindparam("drawn_by"))
    return (
        select(
            row.pk,
            row.sop_class_uid,
            row.storage_key,
            row.rows,
            row.columns,
            row.attributes[BURNED_IN_ANNOTATION],
            region.x0,
            region.y0,
            region.x1,
            region.y1,
            rendition.jpeg,
            *(row.attributes[tag] for tag in ORIENTATION),
        )
        .select_from(row)
        .join(PseudonymRow, and_(PseudonymRow.kind == INSTANCE, PseudonymRow.original == row.sop_instance_uid))
        .join(SeriesRow, SeriesRow.pk == row.series_pk)
        .join(StudyRow, StudyRow.pk == SeriesRow.study_pk)
        .outerjoin(region, of_region)
        .outerjoin(rendition, kept)
        .where(PseudonymRow.pseudonym == bindparam("uid"), visible())
    )
