"""Pictures of films and regions, for callers who see pseudonyms only."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import structlog
from pydicom.dataset import Dataset

from db.browse import BrowsedInstance
from db.engine import Database
from db.pictures import Pictured
from db.renditions import Drawn
from regionmir.archive import renditions
from regionmir.core.errors import BrokenImage, DatabaseUnavailable, StorageFull
from regionmir.core.geometry import Box
from regionmir.core.keeping import StoragePolicy
from regionmir.deid.copies import may_be_copied
from regionmir.pixels.decode import DisplayImage
from regionmir.pixels.eligibility import CR_STORAGE, DX_FOR_PRESENTATION, DX_FOR_PROCESSING, SECONDARY_CAPTURES
from regionmir.pixels.guarded import display_image
from regionmir.pixels.orientation import SIDE_NOT_STATED, Turn, turn_of
from regionmir.pixels.render import png
from regionmir.pixels.rendition import rendition, small_film, small_part, whole_film
from regionmir.web.kept import Kept

_THUMBNAIL_PX = 224
_FILM_PX = 1800
_CROP_PX = 400
_CROP_MARGIN = 0.35
"""A crop is the box grown by this fraction of its size, so that the box is seen in its surroundings."""

_DECODED_AT_ONCE = 2
"""Of films, and beside them of small pictures: a page's ten thumbnails do not wait for its two films."""

_CACHE_BYTES = 64 * 2**20
_RADIOGRAPHS = frozenset({CR_STORAGE, DX_FOR_PRESENTATION, DX_FOR_PROCESSING})

log = structlog.get_logger(__name__)


class ObjectPaths(Protocol):
    """Says where a stored object is, by its key."""

    def path(self, key: str) -> Path: ...


@dataclass(frozen=True, slots=True)
class View:
    """How a film of `rows` x `columns` stored pixels lies when viewed; `note` says where its side is not stated."""

    rows: int
    columns: int
    turn: Turn
    note: str

    @property
    def size(self) -> tuple[int, int]:
        """Return (width, height) of the viewed film in pixels."""
        return (self.rows, self.columns) if self.turn.transposed else (self.columns, self.rows)

    def seen(self, box: Box) -> Box:
        """Return a box of the stored film in pixels of the viewed one."""
        return self.turn.from_stored(box, self.rows, self.columns)

    def stored(self, box: Box) -> Box:
        """Return a box of the viewed film in pixels of the stored one."""
        return self.turn.to_stored(box, self.rows, self.columns)


Film = BrowsedInstance | Pictured
"""An instance of the archive, with as much of it as a page or as a picture needs."""


def view_of(instance: Film) -> View | None:
    """Return how the film lies when viewed, by its attributes; None where they do not say."""
    if not instance.rows or not instance.columns:
        return None
    try:
        turn, note = turn_of(Dataset.from_json(instance.orientation))
    except Exception:  # attributes are as received: pydicom raises many kinds on a broken one
        return None
    return View(instance.rows, instance.columns, turn, note if note == SIDE_NOT_STATED else "")


def why_withheld(instance: Film) -> str:
    """Return why the pixels must not be shown under a pseudonym, empty if they may be: where a copy of it may leave.

    BurnedInAnnotation (PS3.3 C.7.6.1.1.5) says whether a name may be written into them.
    """
    if may_be_copied(instance.sop_class_uid, instance.burned_in_annotation):
        return ""
    if instance.sop_class_uid in _RADIOGRAPHS:
        return "The object does not deny that text is burned into its pixels: it may name the patient."
    if instance.sop_class_uid in SECONDARY_CAPTURES:
        return "A secondary capture is shown only where it says that no text is burned into its pixels."
    return "Only radiographs (CR, DX) are shown without sign-in."


@dataclass(frozen=True, slots=True)
class Small:
    """A small JPEG that is not drawn yet: `drawn()` draws it, `how` and `rendition` say what it will show."""

    how: tuple[object, ...]
    rendition: bytes
    drawn: Callable[[], bytes]


class Pictures:
    """Renders pictures, few at a time, and keeps the newest in memory.

    Small ones are cut from a film's rendition: the one that is kept, else one that is drawn now and kept then, if it
    may be (`regionmir.archive.renditions`). `database` is where it is kept.
    """

    def __init__(self, objects: ObjectPaths, max_pixels: int, database: Database, policy: StoragePolicy) -> None:
        self._objects = objects
        self._max_pixels = max_pixels
        self._database = database
        self._policy = policy
        self._large = threading.BoundedSemaphore(_DECODED_AT_ONCE)
        self._small = threading.BoundedSemaphore(_DECODED_AT_ONCE)
        self._kept = Kept(_CACHE_BYTES)

    def film(self, instance: BrowsedInstance) -> bytes:
        """Return the film as viewed, a PNG. Raises `NotIndexable`, `OSError`."""
        return self._picture(instance, "film", None, lambda image: png(image, size=_FILM_PX))

    def crop(self, instance: BrowsedInstance, box: Box) -> bytes:
        """Return a box (stored pixels) drawn in its surroundings, a PNG. Raises `NotIndexable`, `OSError`."""

        def render(image: DisplayImage) -> bytes:
            return png(image, [box], _around(box, *image.stored_size), _CROP_PX)

        return self._picture(instance, "crop", box, render)

    def sketch(self, film: Pictured) -> Small:
        """Return the film as viewed, of the size of its rendition. Raises `NotIndexable`, `OSError`."""
        return self._cut(film, whole_film, _required_view(film).turn)

    def thumbnail(self, film: Pictured) -> Small:
        """Return the film as viewed, small. Raises as `sketch` does."""
        return self._cut(film, small_film, _required_view(film).turn, _THUMBNAIL_PX)

    def crop_thumbnail(self, film: Pictured, box: Box) -> Small:
        """Return a box (stored pixels) in its surroundings, small. Raises as `sketch` does."""
        return self._cut(film, small_part, *_part(_required_view(film), box))

    def _cut(self, film: Pictured, cut: Callable[..., bytes], *how: Any) -> Small:
        drawn = film.rendition or self._rendition(film)
        return Small((cut.__name__, *how), drawn, lambda: cut(drawn, *how))

    def _rendition(self, instance: Pictured) -> bytes:
        """Draw the rendition of a film that has none kept, and keep it if that may be."""
        key = (instance.storage_key, "rendition")
        with self._small:
            found = self._kept.get(key)
            if found is not None:
                return found
            path = self._objects.path(instance.storage_key)
            drawn = self._kept.put(key, rendition(display_image(path, max_pixels=self._max_pixels)))
        try:
            with self._database.session() as session:
                renditions.keep(session, [Drawn(instance.pk, instance.storage_key, drawn)], self._policy)
        except (DatabaseUnavailable, StorageFull) as error:
            log.warning("rendition not kept", why=type(error).__name__)
        return drawn

    def _picture(
        self, instance: BrowsedInstance, kind: str, box: Box | None, render: Callable[[DisplayImage], bytes]
    ) -> bytes:
        key = (instance.storage_key, kind, box)
        kept = self._kept.get(key)
        if kept is not None:
            return kept
        with self._large:
            path = self._objects.path(instance.storage_key)
            picture = render(display_image(path, max_pixels=self._max_pixels))
        return self._kept.put(key, picture)


def _required_view(instance: Film) -> View:
    view = view_of(instance)
    if view is None:
        raise BrokenImage("attributes unreadable")
    return view


def drawn_part(kept: bytes, view: View, box: Box) -> bytes:
    """Return what `Pictures.crop_thumbnail` draws, of a rendition at hand. Raises `OSError` where that is broken."""
    return small_part(kept, *_part(view, box))


def _part(view: View, box: Box) -> tuple[Box, int, int, Turn, int]:
    """Return how `small_part` draws a box (stored pixels) in its surroundings."""
    return _around(box, view.rows, view.columns), view.rows, view.columns, view.turn, _THUMBNAIL_PX


def _around(box: Box, rows: int, columns: int) -> Box:
    return box.widened(_CROP_MARGIN).clipped(columns, rows)
