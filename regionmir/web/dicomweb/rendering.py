"""Pictures of instances (PS3.18 10.4.1.1.3, 8.3.5): with a window as asked or its own, not turned."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from regionmir.archive import renditions
from regionmir.core.errors import InvalidBox, StorageUnavailable
from regionmir.core.geometry import Box
from regionmir.pixels.display import Window
from regionmir.pixels.eligibility import CR_STORAGE, DX_FOR_PRESENTATION, DX_FOR_PROCESSING
from regionmir.pixels.guarded import frame_picture
from regionmir.pixels.rendered import encoded_picture
from regionmir.pixels.rendition import stored_values
from regionmir.web.dicomweb.accept import Agreed
from regionmir.web.dicomweb.holding import Held
from regionmir.web.dicomweb.problems import BadRequest
from regionmir.web.dicomweb.tables import PNG

MAX_VIEWPORT_PX: Final = 8192
THUMBNAIL_PX: Final = 256
DEFAULT_QUALITY: Final = 90
_GREY: Final = frozenset({CR_STORAGE, DX_FOR_PRESENTATION, DX_FOR_PROCESSING})
"""Classes of films that have one sample: a rendition is grey."""

_FUNCTIONS: Final = {"linear": "LINEAR", "linear-exact": "LINEAR_EXACT", "sigmoid": "SIGMOID"}
_KNOWN: Final = frozenset({"window", "viewport", "quality", "accept", "charset", "annotation", "iccprofile"})
_NUMBER = re.compile(r"[+-]?(\d{1,9}(\.\d{0,9})?|\.\d{1,9})([eE][+-]?\d{1,2})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Look:
    """How an image is to look. `size`: it fits into this width and height; `source`: the part shown, stored pixels."""

    window: Window | None = None
    size: tuple[int, int] | None = None
    source: Box | None = None
    quality: int = DEFAULT_QUALITY


def read_look(parameters: Mapping[str, str], *, thumbnail: bool) -> Look:
    """Return what the query parameters of a rendered resource ask. Raises `BadRequest`."""
    if not set(parameters) <= _KNOWN:
        raise BadRequest("a rendered resource takes window, viewport, quality, annotation and iccprofile")
    size, source = _viewport(parameters["viewport"]) if "viewport" in parameters else (None, None)
    if thumbnail and size is None:
        size = (THUMBNAIL_PX, THUMBNAIL_PX)
    window = _window(parameters["window"]) if "window" in parameters else None
    quality = parameters.get("quality", str(DEFAULT_QUALITY))
    if not (quality.isascii() and quality.isdigit() and len(quality) <= 3 and 1 <= int(quality) <= 100):
        raise BadRequest("quality is a number from 1 to 100")
    return Look(window, size, source, int(quality))


def render(held: Held, number: int, look: Look, agreed: Agreed) -> bytes:
    """Return a picture of one frame, a JPEG or PNG. Raises `NotIndexable`, `BadRequest`, `StorageUnavailable`.

    It is of the stored pixels, also for pseudonymous callers: only what may leave as a copy comes here.
    """
    kind: Literal["PNG", "JPEG"] = "PNG" if agreed.media_type == PNG else "JPEG"
    key = (held.stored.storage_key, number, look, kind)
    kept = held.service.pictures.get(key)
    if kept is not None:
        return kept
    small = _small(held, number, look)
    if small is not None:
        return held.service.pictures.put(
            key, encoded_picture(stored_values(small), kind, None, look.size, look.quality)
        )
    max_pixels = held.service.archive.settings.max_pixels
    try:
        with held.service.decoding:
            made = frame_picture(
                held.path,
                number - 1,
                kind,
                window=look.window,
                source=look.source,
                size=look.size,
                quality=look.quality,
                max_pixels=max_pixels,
            )
    except OSError:
        raise StorageUnavailable("a stored object cannot be read") from None
    except InvalidBox:
        raise BadRequest("the viewport shows no part of the image") from None
    return held.service.pictures.put(key, made)


def _small(held: Held, number: int, look: Look) -> bytes | None:
    """Return the rendition that is kept of a film, where a picture can be made of it that looks the same."""
    plain = number == 1 and look.window is None and look.source is None
    if not plain or look.size is None or max(look.size) > THUMBNAIL_PX or held.stored.sop_class_uid not in _GREY:
        return None
    with held.service.archive.database.session() as session:
        return renditions.find(session, held.stored.pk)


def _window(text: str) -> Window:
    parts = text.split(",")
    if len(parts) != 3 or parts[2].lower() not in _FUNCTIONS or not all(map(_NUMBER.fullmatch, parts[:2])):
        raise BadRequest("window is centre,width,function; functions are linear, linear-exact and sigmoid")
    centre, width, function = float(parts[0]), float(parts[1]), _FUNCTIONS[parts[2].lower()]
    if width <= 0 or (function == "LINEAR" and width < 1):
        raise BadRequest("the width of the window is too small")
    return Window(centre, width, function)


def _viewport(text: str) -> tuple[tuple[int, int], Box | None]:
    parts = text.split(",")
    if len(parts) not in (2, 6) or not all(not part or _NUMBER.fullmatch(part) for part in parts):
        raise BadRequest("viewport is width,height or width,height,x,y,width,height")
    width, height = (int(float(part or 0)) for part in parts[:2])
    if not (1 <= width <= MAX_VIEWPORT_PX and 1 <= height <= MAX_VIEWPORT_PX):
        raise BadRequest(f"the sides of the viewport are 1 to {MAX_VIEWPORT_PX} pixels")
    if len(parts) == 2:
        return (width, height), None
    x, y, across, down = (float(part) if part else math.nan for part in parts[2:])
    if any(map(math.isnan, (x, y, across, down))) or across <= 0 or down <= 0:
        raise BadRequest("the viewport names all four of x, y, width and height; none is flipped")
    return (width, height), Box(x, y, x + across, y + down)
