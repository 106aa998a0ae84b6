"""Embedding drawn boxes on demand: before and between the batches of the indexer, by the same model."""

import structlog

from db import drawn_boxes
from db.drawn_boxes import WaitingBox
from db.engine import Database
from regionmir.core.errors import BrokenImage, InvalidBox, Transient, UnsupportedImage, origin
from regionmir.core.records import Vector
from regionmir.pixels.guarded import display_image
from workers.models import InUse
from workers.pipeline import Analyser, ObjectPaths

log = structlog.get_logger(__name__)


def embed_waiting(database: Database, objects: ObjectPaths, used: InUse, max_pixels: int) -> int:
    """Embed every box that waits for this model and return how many were answered. Raises `Transient`."""
    done = 0
    while True:
        with database.session() as session:
            waiting = drawn_boxes.claim(session, used.model_pk)
        if waiting is None:
            return done
        vector, reason = _embedded(objects, used.model, max_pixels, waiting)
        with database.session() as session:
            drawn_boxes.finish(session, waiting.pk, vector, reason)
        done += 1


def _embedded(objects: ObjectPaths, model: Analyser, max_pixels: int, waiting: WaitingBox) -> tuple[Vector | None, str]:
    """Return the embedding of a box, or None and the reason why it has none."""
    try:
        image = display_image(objects.path(waiting.storage_key), max_pixels=max_pixels)
        rows, columns = image.stored_size
        box = image.from_stored(waiting.box.clipped(columns, rows))
        return model.embed_boxes(image.values, [box], [waiting.anatomy])[0], ""
    except InvalidBox:
        return None, "box outside the image"
    except (UnsupportedImage, BrokenImage) as error:
        return None, error.reason
    except Transient:
        raise
    except Exception as error:  # one film's fault is no reason to leave other boxes waiting
        log.error("box not embedded", error=type(error).__name__, at=origin(error))
        return None, f"cannot be embedded: {type(error).__name__}"
