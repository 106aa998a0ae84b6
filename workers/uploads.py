"""Indexing uploaded films on demand: before and between the batches of the indexer, by the same model and rules."""

import structlog

from db import uploads
from db.engine import Database
from db.uploads import WaitingFilm
from regionmir.core.records import InstanceState
from regionmir.storage.uploads import Uploads
from workers.models import InUse
from workers.pipeline import Analyser, Outcome, judge, read_film
from workers.reading import Wanted

log = structlog.get_logger(__name__)


def index_uploaded(database: Database, folder: Uploads, used: InUse, max_pixels: int) -> int:
    """Index every uploaded film that waits and return how many were done. Raises `Transient`.

    The file of a film is deleted as soon as its outcome is written.
    """
    done = 0
    while True:
        with database.session() as session:
            waiting = uploads.claim(session)
        if waiting is None:
            return done
        outcome = _outcome(folder, used.model, max_pixels, waiting)
        _write(database, used.model_pk, waiting.storage_key, outcome)
        folder.remove(waiting.storage_key)
        done += 1


def sweep(database: Database, folder: Uploads, keep_s: float) -> int:
    """Forget uploaded films whose time is over, rows and files, and return how many rows that were."""
    with database.session() as session:
        expired = uploads.expire(session)
    folder.sweep(keep_s)
    return len(expired)


def _outcome(folder: Uploads, model: Analyser, max_pixels: int, waiting: WaitingFilm) -> Outcome:
    film = read_film(folder, max_pixels, waiting, Wanted(model.side))
    return film if isinstance(film, Outcome) else judge([film], model)[0]


def _write(database: Database, model_pk: int, code: str, outcome: Outcome) -> None:
    with database.session() as session:
        if outcome.film is None or outcome.state is not InstanceState.INDEXED:
            uploads.finish(session, code, outcome.state, outcome.reason)
            return
        film = outcome.film
        uploads.finish(
            session,
            code,
            outcome.state,
            model_pk=model_pk,
            pixel_sha256=film.pixel_sha256,
            view=film.view,
            rows=film.stored_size[0],
            columns=film.stored_size[1],
            regions=uploads.as_json(outcome.regions),
        )
