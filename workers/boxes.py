"""Embedding drawn boxes on demand by the model of the indexer."""

from db import drawn_boxes
from db.drawn_boxes import WaitingBox
from db.engine import Database
from regionmir.core.records import Vector
from regionmir.pixels.guarded import display_image
from workers.models import InUse
from workers.on_demand import answer_waiting
from workers.pipeline import ObjectPaths


def embed_waiting(database: Database, objects: ObjectPaths, used: InUse, max_pixels: int) -> int:
    """Embed every box that waits for this model and return how many were answered. Raises `Transient`."""

    def embedded(waiting: WaitingBox) -> Vector:
        image = display_image(objects.path(waiting.storage_key), max_pixels=max_pixels)
        rows, columns = image.stored_size
        box = image.from_stored(waiting.box.clipped(columns, rows))
        vector: Vector = used.model.embed_boxes(image.values, [box], [waiting.anatomy])[0]
        return vector

    return answer_waiting(
        database,
        lambda session: drawn_boxes.claim(session, used.model_pk),
        embedded,
        drawn_boxes.finish,
        "cannot be embedded",
    )
