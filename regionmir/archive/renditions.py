"""Which renditions of films are kept: those whose pixels may be shown to anybody, while their object is kept.

An index worker keeps one with the outcome of a film, a page the one that it had to draw; `make_missing` does it for
an archive that was indexed before.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from db import pictures, renditions
from db.engine import Database
from db.pictures import Pictured
from db.renditions import Drawn, Unrendered
from regionmir.core.anatomy import Anatomy
from regionmir.core.errors import NotIndexable, Transient
from regionmir.core.keeping import StoragePolicy
from regionmir.deid.copies import may_be_copied
from regionmir.pixels.guarded import display_image
from regionmir.pixels.rendition import DRAWN_BY, rendition

if TYPE_CHECKING:
    from db.engine import Session

_DECODED_AT_ONCE: Final = 2
_AT_A_TIME: Final = 100

log = structlog.get_logger(__name__)


class ObjectPaths(Protocol):
    """Says where a stored object is, by its key."""

    def path(self, key: str) -> Path: ...


@dataclass(slots=True)
class Made:
    """What a run of `make_missing` has done so far. `left`: films that cannot be drawn, or have gone meanwhile."""

    made: int = 0
    left: int = 0


def pictured(session: "Session", uid: str, anatomy: Anatomy | None = None) -> Pictured | None:
    """Return a film by its pseudonymous UID with its rendition and the box of one region; see `db.pictures.find`."""
    return pictures.find(session, uid, DRAWN_BY, anatomy)


def find(session: "Session", instance_pk: int) -> bytes | None:
    """Return the rendition of an instance as it would be drawn now, None where none is kept."""
    return renditions.find(session, instance_pk, DRAWN_BY)


def find_several(session: "Session", instance_pks: Sequence[int]) -> dict[int, bytes]:
    """Return `find` of several by instance, of those that have one."""
    return renditions.find_several(session, instance_pks, DRAWN_BY)


def keep(session: "Session", drawn: Sequence[Drawn], policy: StoragePolicy) -> set[int]:
    """Keep renditions where they may be kept, and return the keys of those instances; see `db.renditions.keep`.

    Films that do not leave as pseudonymous copies have none: text may be burned into their pixels.
    """
    return renditions.keep(session, drawn, DRAWN_BY, policy=policy, may_keep=may_be_copied)


def count_missing(database: Database, policy: StoragePolicy) -> int:
    """Return how many films `make_missing` would look at."""
    with database.session() as session:
        return renditions.count_missing(session, DRAWN_BY, policy=policy)


def make_missing(
    database: Database,
    objects: ObjectPaths,
    policy: StoragePolicy,
    max_pixels: int,
    told: Callable[[Made], None] = lambda _: None,
) -> Made:
    """Draw and keep the renditions of indexed films that have none, and return what was done.

    Safe while everything runs, and to be interrupted: it goes on with what is missing. Raises `Transient`.
    """
    done, after = Made(), 0
    draw = partial(_drawn, objects, max_pixels)
    with ThreadPoolExecutor(_DECODED_AT_ONCE, thread_name_prefix="draw") as pool:
        while True:
            with database.session() as session:
                films, after = renditions.missing(
                    session, DRAWN_BY, policy=policy, may_keep=may_be_copied, after=after, limit=_AT_A_TIME
                )
            if not after:
                return done
            for film, jpeg in zip(films, pool.map(draw, films), strict=True):
                if jpeg is not None and _kept(database, film, jpeg, policy):
                    done.made += 1
                else:
                    done.left += 1
                told(done)


def _drawn(objects: ObjectPaths, max_pixels: int, film: Unrendered) -> bytes | None:
    try:
        return rendition(display_image(objects.path(film.storage_key), max_pixels=max_pixels))
    except Transient:
        raise
    except (NotIndexable, OSError) as error:
        log.info("no rendition", sop_instance_uid=film.sop_instance_uid, why=type(error).__name__)
        return None


def _kept(database: Database, film: Unrendered, jpeg: bytes, policy: StoragePolicy) -> bool:
    with database.session() as session:
        return bool(keep(session, [Drawn(film.pk, film.storage_key, jpeg)], policy))
