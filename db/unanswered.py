"""Whether somebody waits for an index worker: asked once for all that it answers between two batches."""

from typing import Final, NamedTuple

from sqlalchemy import BindParameter, bindparam, exists, select
from sqlalchemy.orm import Session

from db import drawn_boxes, explanations
from db.tables import DrawnBoxRow, ExplanationRow, UploadedFilmRow
from regionmir.core.records import InstanceState


class Unanswered(NamedTuple):
    """What waits, or is held by a worker, which may have died: drawn boxes, pairs to explain, uploaded films."""

    boxes: bool
    pairs: bool
    films: bool


def find(session: Session, model_pk: int) -> Unanswered:
    """Return what waits for this generation."""
    return Unanswered(*session.execute(_STATEMENT, {"model_pk": model_pk}).one())


_OF_MODEL: Final[BindParameter[int]] = bindparam("model_pk")
_STATEMENT: Final = select(
    exists().where(DrawnBoxRow.model_pk == _OF_MODEL, DrawnBoxRow.state.in_(("waiting", drawn_boxes.WORKING))),
    exists().where(ExplanationRow.model_pk == _OF_MODEL, ExplanationRow.state.in_(("waiting", explanations.WORKING))),
    exists().where(UploadedFilmRow.state.in_((InstanceState.RECEIVED, InstanceState.INDEXING))),
)
