"""Similarity maps on demand, by the model of the indexer: why a pair of regions is alike."""

from db import explanations
from db.engine import Database
from db.explanations import Cells, WaitingExplanation
from regionmir.core.geometry import Box
from regionmir.pixels.guarded import display_image
from workers.models import InUse
from workers.on_demand import answer_waiting
from workers.pipeline import ObjectPaths, Side


def explain_waiting(database: Database, objects: ObjectPaths, used: InUse, max_pixels: int) -> int:
    """Make the maps of every pair that waits for this model and return how many were answered. Raises `Transient`."""

    def side(storage_key: str, box: Box) -> Side:
        image = display_image(objects.path(storage_key), max_pixels=max_pixels)
        rows, columns = image.stored_size
        return image.values, image.from_stored(box.clipped(columns, rows))

    def explained(waiting: WaitingExplanation) -> tuple[Cells, Cells]:
        found = used.model.explain(side(*waiting.query), side(*waiting.hit), waiting.anatomy)
        return found.query, found.hit

    return answer_waiting(
        database,
        lambda session: explanations.claim(session, used.model_pk),
        explained,
        explanations.finish,
        "cannot be explained",
    )
