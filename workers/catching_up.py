"""Lets the generations that searches do not use look at every film, while nothing newer waits.

One generation is built, or kept up to date, beside the one that answers: see `db.analyses`. It takes a share of the
worker's time, newest arrivals first, and goes on where it was after a crash.
"""

import threading
import time
from dataclasses import dataclass, field

import structlog

from db import analyses, generations, instances
from db.analyses import ClaimedFilm, Judgement
from db.engine import Database
from db.generations import RegisteredModel
from regionmir.core.errors import ModelError, StorageFull, Transient, origin
from regionmir.core.records import InstanceState
from regionmir.pixels.decode import PIPELINE_HASH
from regionmir.pixels.layout import DEFAULT_MAX_PIXELS
from workers.models import InUse, Models
from workers.pipeline import ObjectPaths, Outcome, judge, read_film
from workers.reading import Film, Wanted

_COMPARE_S = 600.0
"""A film that arrived while a generation was being proposed may be on no list: it is found when they are compared."""

_LEAVE_ALONE_S = 60.0
"""How long a generation is left alone whose model cannot be loaded here."""

log = structlog.get_logger(__name__)


@dataclass
class CatchUp:
    """`look` may be called again and again; `share` is the part of its time that it works, 0 to 1."""

    database: Database
    objects: ObjectPaths
    models: Models
    batch_size: int
    lease_s: float
    share: float = 1.0
    max_pixels: int = DEFAULT_MAX_PIXELS
    _stopping: threading.Event = field(default_factory=threading.Event)
    _compared_at: dict[int, float] = field(default_factory=dict)
    """When a generation's list of films was last compared with what is there, in this process."""
    _left_alone_until: dict[int, float] = field(default_factory=dict)
    """Of generations whose model could not be loaded."""

    def look(self) -> int:
        """Work until nothing is left, something newer waits, or `stop`; return how many films were looked at.

        Raises `Transient`: what was claimed is claimed again when its lease has ended.
        """
        with self.database.session() as session:
            kept_up = generations.kept_up(session)
        return sum(self._catch_up(one) for one in kept_up)

    def stop(self) -> None:
        """Let `look` end after the batch it is at. Safe in a signal handler."""
        self._stopping.set()

    def _catch_up(self, generation: RegisteredModel) -> int:
        done = 0
        if time.monotonic() < self._left_alone_until.get(generation.pk, 0):
            return done
        while not self._stopping.is_set():
            began = time.monotonic()
            films = self._claim(generation.pk)
            if not films:
                return done
            try:
                used = self.models.of(generation)
            except ModelError as error:
                log.error("generation not kept up to date", generation=generation.pk, error=str(error))
                self._give_back(generation.pk, films)
                self._left_alone_until[generation.pk] = time.monotonic() + _LEAVE_ALONE_S
                return done
            self._look_at(used, films)
            done += len(films)
            self._stopping.wait((time.monotonic() - began) * (1 / self.share - 1))
        return done

    def _claim(self, model_pk: int) -> list[ClaimedFilm]:
        """Return films to look at; none while new arrivals wait for the generation that answers."""
        with self.database.session() as session:
            if instances.waiting(session):
                return []
            films = analyses.claim(session, model_pk, self.batch_size, self.lease_s)
            if films:
                self._compared_at.pop(model_pk, None)
            elif time.monotonic() - self._compared_at.get(model_pk, -_COMPARE_S) >= _COMPARE_S:
                self._compared_at[model_pk] = time.monotonic()
                analyses.enqueue_missing(session, model_pk)
                films = analyses.claim(session, model_pk, self.batch_size, self.lease_s)
        return films

    def _give_back(self, model_pk: int, films: list[ClaimedFilm]) -> None:
        with self.database.session() as session:
            analyses.release(session, model_pk, [film.instance_pk for film in films])

    def _look_at(self, used: InUse, films: list[ClaimedFilm]) -> None:
        wanted = Wanted(used.model.side)
        read = [(film, read_film(self.objects, self.max_pixels, film, wanted)) for film in films]
        decoded = [(film, found) for film, found in read if isinstance(found, Film)]
        outcomes = [(film, found) for film, found in read if isinstance(found, Outcome)]
        judged = judge([found for _, found in decoded], used.model)
        outcomes += zip((film for film, _ in decoded), judged, strict=True)
        for film, outcome in outcomes:
            self._write(used.model_pk, film, outcome)

    def _write(self, model_pk: int, film: ClaimedFilm, outcome: Outcome) -> None:
        try:
            with self.database.session() as session:
                analyses.finish(session, model_pk, film, _judgement(outcome))
        except (Transient, StorageFull):
            raise
        except Exception as error:
            log.error("regions not written", sop_instance_uid=film.sop_instance_uid, at=origin(error))
            failed = Judgement(InstanceState.FAILED, f"cannot be written: {type(error).__name__}")
            with self.database.session() as session:
                analyses.finish(session, model_pk, film, failed)


def _judgement(outcome: Outcome) -> Judgement:
    if outcome.film is None:
        return Judgement(outcome.state, outcome.reason)
    film = outcome.film
    return Judgement(outcome.state, outcome.reason, outcome.regions, film.pixel_sha256, PIPELINE_HASH, film.view)
