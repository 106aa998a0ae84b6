"""Small pictures that stand in the page itself (`data:`, RFC 2397): its browser asks for none of them by itself.

Ten requests cost browser and server more than the pictures do, which are 4 KB each and drawn in a millisecond.
"""

from base64 import b64encode
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import structlog

from db.browse import BrowsedInstance
from regionmir.archive import renditions
from regionmir.core.anatomy import Anatomy
from regionmir.web.pictures import drawn_part, view_of, why_withheld

if TYPE_CHECKING:
    from db.engine import Session

log = structlog.get_logger(__name__)

_DRAWING = ThreadPoolExecutor(2, thread_name_prefix="inline")
"""Pillow lets go of the interpreter while it decodes and encodes."""


def region_pictures(session: "Session", films: Mapping[int, BrowsedInstance], anatomy: Anatomy) -> dict[int, str]:
    """Return by instance the address of a small picture of one region, of the films that may be shown.

    The address holds the picture, where a rendition of the film is at hand; else the picture is to be asked for.
    """
    shown = {pk: film for pk, film in films.items() if not why_withheld(film)}
    kept = renditions.find_several(session, list(shown))
    inlined = _DRAWING.map(lambda pk: _inlined(shown[pk], kept.get(pk), anatomy), shown)
    return {
        pk: held or f"/instances/{film.uid}/{anatomy.short}.jpg"
        for (pk, film), held in zip(shown.items(), inlined, strict=True)
    }


def _inlined(film: BrowsedInstance, kept: bytes | None, anatomy: Anatomy) -> str:
    view = view_of(film)
    box = next((found.box for found in film.regions if found.anatomy == anatomy), None)
    if kept is None or view is None or box is None:
        return ""
    try:
        return f"data:image/jpeg;base64,{b64encode(drawn_part(kept, view, box)).decode()}"
    except OSError as error:
        log.warning("rendition broken", instance_pk=film.pk, why=type(error).__name__)
        return ""
