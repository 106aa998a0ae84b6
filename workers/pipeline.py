"""The way of one batch: claimed rows -> films -> one forward pass -> regions in the database.

One broken film never harms the others: each is read on its own, judged and written on its own where the batch cannot
be, and its outcome is a state with a reason. `Transient` errors (the database is away) pass through: the rows stay
leased and are done again.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import structlog

from db import instances, wanted_answers
from db.analyses import BY_A_MODEL, NO_REGION, NOT_A_CHEST
from db.engine import Database, Session
from db.instances import ClaimedInstance, IndexedFilm
from db.renditions import Drawn
from db.wanted_answers import Marked
from models.square import Image, Square
from regionmir.archive import renditions
from regionmir.core.anatomy import Anatomy
from regionmir.core.errors import BrokenImage, InvalidBox, StorageFull, Transient, UnsupportedImage, origin
from regionmir.core.geometry import Box
from regionmir.core.keeping import StoragePolicy
from regionmir.core.records import DetectedRegion, EmbeddedRegion, GenerationInfo, InstanceState
from regionmir.monitoring.stages import stage, stages
from regionmir.pixels.decode import PIPELINE_HASH
from regionmir.query.annotations import ANNOTATIONS, AnnotatedRegion
from workers.reading import WHOLE, Film, Wanted, read_object

log = structlog.get_logger(__name__)


class Analysis(Protocol):
    """What a model says of one image; boxes in the pixels of the array that it was given."""

    @property
    def accepted(self) -> bool: ...
    @property
    def regions(self) -> tuple[EmbeddedRegion, ...]: ...


Side = tuple[Image, Box]
"""One region of a pair: an image (H, W) of display values and the box in its pixels."""


class Analyser(Protocol):
    """A model: one forward pass over images, one analysis for each.

    An image is (H, W) float32 of display values 0..1, or, for a model that has a `side`, the square of it.
    """

    @property
    def info(self) -> GenerationInfo: ...
    @property
    def side(self) -> int: ...
    def analyse(self, images: Sequence[Image | Square]) -> Sequence[Analysis]: ...
    def embed_boxes(
        self, image: npt.NDArray[np.float32], boxes: Sequence[Box], anatomies: Sequence[Anatomy]
    ) -> npt.NDArray[np.float32]: ...
    def explain(self, query: Side, hit: Side, anatomy: Anatomy) -> "PairMaps": ...


class PairMaps(Protocol):
    """Why a pair of regions is alike; maps (P, P) of -1..1, rows from the top."""

    @property
    def query(self) -> npt.NDArray[np.float32]: ...
    @property
    def hit(self) -> npt.NDArray[np.float32]: ...


class ObjectPaths(Protocol):
    """Says where a stored object is, by its key."""

    def path(self, key: str) -> Path: ...


class StoredFilm(Protocol):
    """An object that is to be read: a claimed instance, or an uploaded film."""

    @property
    def storage_key(self) -> str: ...
    @property
    def sop_class_uid(self) -> str: ...
    @property
    def sop_instance_uid(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where a film ends: `reason` says why it is not indexed, `regions` are in stored pixels."""

    state: InstanceState
    reason: str = ""
    film: Film | None = None
    regions: tuple[EmbeddedRegion, ...] = ()
    marked: tuple[AnnotatedRegion, ...] = ()
    """What an annotation marks: it asks, and is not indexed itself."""


def read_film(objects: ObjectPaths, max_pixels: int, claimed: StoredFilm, wanted: Wanted = WHOLE) -> Film | Outcome:
    """Return the decoded film, or the outcome that it is not one; whatever decoding it does, only it is lost.

    One whose rendition is wanted and cannot be drawn is indexed without.
    """
    with stage("read", claimed.sop_instance_uid):
        return _read_film(objects, max_pixels, claimed, wanted)


def _read_film(objects: ObjectPaths, max_pixels: int, claimed: StoredFilm, wanted: Wanted) -> Film | Outcome:
    try:
        read = read_object(objects.path(claimed.storage_key), claimed.sop_class_uid, max_pixels, wanted)
        if isinstance(read, Film):
            if wanted.rendition and read.rendition is None:
                log.error("no rendition", sop_instance_uid=claimed.sop_instance_uid)
            return read
        return Outcome(InstanceState.UNSUPPORTED, wanted_answers.ANNOTATION, marked=read)
    except UnsupportedImage as error:
        return Outcome(InstanceState.UNSUPPORTED, error.reason)
    except BrokenImage as error:
        return Outcome(InstanceState.FAILED, error.reason)
    except OSError as error:
        return Outcome(InstanceState.FAILED, f"object cannot be read: {type(error).__name__}")
    except Transient:
        raise
    except Exception as error:  # a decoder's own fault with this film is no reason to hold up the others
        log.error("film not decoded", sop_instance_uid=claimed.sop_instance_uid, at=origin(error))
        return Outcome(InstanceState.FAILED, f"cannot be decoded: {type(error).__name__}")


def judged(
    batch: Iterable[tuple[ClaimedInstance, "Future[Film | Outcome]"]], model: Analyser
) -> list[tuple[ClaimedInstance, Outcome]]:
    """Return the outcome of each claimed instance whose film is being read: first of those that are no films."""
    films: list[tuple[ClaimedInstance, Film]] = []
    ended: list[tuple[ClaimedInstance, Outcome]] = []
    for claimed, reading in batch:
        film = reading.result()
        if isinstance(film, Outcome):
            ended.append((claimed, film))
        else:
            films.append((claimed, film))
    outcomes = judge([film for _, film in films], model)
    return ended + [(claimed, outcome) for (claimed, _), outcome in zip(films, outcomes, strict=True)]


def judge(films: Sequence[Film], model: Analyser) -> list[Outcome]:
    """Return an outcome for each film from one forward pass; if that fails, from one pass for each film."""
    if not films:
        return []
    try:
        with stage("forward"):
            analyses = model.analyse([film.seen for film in films])
        return [_outcome(film, analysis) for film, analysis in zip(films, analyses, strict=True)]
    except Exception as error:
        log.error("forward pass failed", films=len(films), error=type(error).__name__, at=origin(error))
        if len(films) > 1:
            return [judge([film], model)[0] for film in films]
        return [Outcome(InstanceState.FAILED, f"model failed: {type(error).__name__}")]


def _outcome(film: Film, analysis: Analysis) -> Outcome:
    if not analysis.accepted:
        return Outcome(InstanceState.UNSUPPORTED, NOT_A_CHEST)
    regions = tuple(_in_stored_pixels(film, analysis.regions))
    if not regions:
        return Outcome(InstanceState.UNSUPPORTED, NO_REGION)
    return Outcome(InstanceState.INDEXED, film=film, regions=regions)


def _in_stored_pixels(film: Film, regions: Iterable[EmbeddedRegion]) -> Iterable[EmbeddedRegion]:
    rows, columns = film.stored_size
    for found in regions:
        region = found.region
        try:
            box = film.to_stored(region.box).clipped(columns, rows)
        except InvalidBox:  # wholly outside the image
            continue
        yield EmbeddedRegion(DetectedRegion(region.anatomy, box, region.score), found.vector)


def write_outcomes(
    database: Database,
    owner: str,
    model_pk: int,
    outcomes: Sequence[tuple[ClaimedInstance, Outcome]],
    policy: StoragePolicy = StoragePolicy.KEEP,
) -> None:
    """Store outcomes: all indexed films in one transaction, or one by one where that fails; all others one by one.

    With a film goes its rendition, where `policy`, or that of the film's AE, allows one.
    What was claimed and lost meanwhile is left as it is. Raises `Transient` and `StorageFull`, which are no fault of
    a film.
    """
    indexed = [_found(claimed, outcome.film, outcome.regions) for claimed, outcome in outcomes if outcome.film]
    others = [(claimed, outcome) for claimed, outcome in outcomes if outcome.film is None]
    for claimed, outcome in others:
        _write_other(database, owner, model_pk, claimed, outcome)
    try:
        _write_indexed(database, owner, model_pk, indexed, policy)
    except (Transient, StorageFull):
        raise
    except Exception as error:
        log.error("batch not written at once", films=len(indexed), at=origin(error))
        for one in indexed:
            with _no_harm_to_others(database, owner, one.film.claimed):
                _write_indexed(database, owner, model_pk, [one], policy)


class _Found(NamedTuple):
    film: IndexedFilm
    rendition: bytes | None


def _found(claimed: ClaimedInstance, film: Film, regions: Sequence[EmbeddedRegion]) -> _Found:
    indexed = IndexedFilm(claimed, regions, film.pixel_sha256, PIPELINE_HASH, film.view)
    return _Found(indexed, film.rendition)


def _write_indexed(
    database: Database, owner: str, model_pk: int, found: Sequence[_Found], policy: StoragePolicy
) -> None:
    """Store films with their renditions in one transaction, which is a stage of the way of each."""
    if not found:
        return
    claimed = [one.film.claimed for one in found]
    with stages("write", [one.sop_instance_uid for one in claimed]), database.session() as session:
        held = instances.finish_indexed(session, [one.film for one in found], owner=owner, model_pk=model_pk)
        drawn = [
            Drawn(row.pk, row.storage_key, one.rendition)
            for row, one in zip(claimed, found, strict=True)
            if row.pk in held and one.rendition is not None
        ]
        renditions.keep(session, drawn, policy)


def _write_other(database: Database, owner: str, model_pk: int, claimed: ClaimedInstance, outcome: Outcome) -> None:
    """Store the outcome of what is not indexed, in a transaction of its own."""
    with (
        _no_harm_to_others(database, owner, claimed),
        stage("write", claimed.sop_instance_uid),
        database.session() as session,
    ):
        if outcome.state is InstanceState.UNSUPPORTED:
            reason = _annotation_read(session, claimed, outcome) or outcome.reason
            judge_pk = model_pk if outcome.reason in BY_A_MODEL else None
            instances.finish_unsupported(session, claimed, owner=owner, reason=reason, model_pk=judge_pk)
        else:
            instances.finish_failed(session, claimed, owner=owner, reason=outcome.reason)


@contextmanager
def _no_harm_to_others(database: Database, owner: str, claimed: ClaimedInstance) -> Iterator[None]:
    """Let an instance fail that cannot be written, whatever the database has against it."""
    try:
        yield
    except (Transient, StorageFull):
        raise
    except Exception as error:
        log.error("regions not written", sop_instance_uid=claimed.sop_instance_uid, at=origin(error))
        with database.session() as session:
            instances.finish_failed(session, claimed, owner=owner, reason=f"cannot be written: {type(error).__name__}")


def _annotation_read(session: Session, claimed: ClaimedInstance, outcome: Outcome) -> str:
    """Let an annotation ask what it marks; return the reason of its state where that is not the outcome's own."""
    if claimed.sop_class_uid not in ANNOTATIONS:
        return ""
    if not outcome.marked:
        wanted_answers.refuse_unread(session, claimed.pk, outcome.reason)
        return ""
    marked = [Marked(one.sop_instance_uid, one.box, one.anatomy) for one in outcome.marked]
    return wanted_answers.resolve(session, claimed.pk, marked)
