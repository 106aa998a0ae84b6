"""Similarity maps on demand: why a pair of regions is alike, before and between the batches of the indexer."""

import structlog

from db import explanations
from db.engine import Database
from db.explanations import Cells, WaitingExplanation
from regionmir.core.errors import BrokenImage, InvalidBox, Transient, UnsupportedImage, origin
from regionmir.core.geometry import Box
from regionmir.pixels.guarded import display_image
from workers.models import InUse
from workers.pipeline import Analyser, ObjectPaths, Side

log = structlog.get_logger(__name__)


def explain_waiting(database: Database, objects: ObjectPaths, used: InUse, max_pixels: int) -> int:
    """Make the maps of every pair that waits for this model and return how many were answered. Raises `Transient`."""
    done = 0
    while True:
        with database.session() as session:
            waiting = explanations.claim(session, used.model_pk)
        if waiting is None:
            return done
        maps, reason = _explained(objects, used.model, max_pixels, waiting)
        with database.session() as session:
            explanations.finish(session, waiting.pk, maps, reason)
        done += 1


def _explained(
    objects: ObjectPaths, model: Analyser, max_pixels: int, waiting: WaitingExplanation
) -> tuple[tuple[Cells, Cells] | None, str]:
    """Return the maps of query and hit, or None and the reason why there are none."""
    try:
        query, hit = (_side(objects, max_pixels, key, box) for key, box in (waiting.query, waiting.hit))
        found = model.explain(query, hit, waiting.anatomy)
        return (found.query, found.hit), ""
    except InvalidBox:
        return None, "box outside the image"
    except (UnsupportedImage, BrokenImage) as error:
        return None, error.reason
    except Transient:
        raise
    except Exception as error:  # one pair's fault is no reason to leave others waiting
        log.error("pair not explained", error=type(error).__name__, at=origin(error))
        return None, f"cannot be explained: {type(error).__name__}"


def _side(objects: ObjectPaths, max_pixels: int, storage_key: str, box: Box) -> Side:
    image = display_image(objects.path(storage_key), max_pixels=max_pixels)
    rows, columns = image.stored_size
    return image.values, image.from_stored(box.clipped(columns, rows))
