"""What a client accepts: the Accept header, or the query parameter of that name (PS3.18 8.3.3.1, RFC 9110 12.5.1)."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from starlette.requests import Request

from regionmir.web.dicomweb.problems import BadRequest
from regionmir.web.dicomweb.tables import RELATED

ANY_SYNTAX: Final = "*"
MAX_LENGTH: Final = 8192

_TYPE = re.compile(r"\s*([\w!#$&+.^*-]+/[\w!#$&+.^*-]+)\s*", re.ASCII)
_PARAMETER = re.compile(r';\s*([\w!#$&+.^-]+)\s*=\s*(?:"([^"]*)"|([^\s;,"]*))\s*', re.ASCII)
_UID = re.compile(r"\*|[0-9.]{1,64}")


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One media type or range. For `multipart/related`, `inner` is the type of its parts, empty if it is not said."""

    type: str
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def quality(self) -> float:
        try:
            return float(self.parameters.get("q", "1"))
        except ValueError:
            return 0.0

    @property
    def multipart(self) -> bool:
        return self.type == RELATED

    @property
    def inner(self) -> str:
        return self.parameters.get("type", "").lower()

    @property
    def transfer_syntax(self) -> str:
        return self.parameters.get("transfer-syntax", "")


@dataclass(frozen=True, slots=True)
class Agreed:
    """What is given: a media type, in parts or alone, and the transfer syntaxes the client takes of it, best first.

    No syntaxes: the client named none, so the default of the media type counts.
    """

    media_type: str
    multipart: bool
    syntaxes: tuple[str, ...] = ()


def read_media_type(text: str) -> MediaRange:
    """Return one media type with its parameters. Raises `BadRequest`."""
    found = read_accept(text)
    if len(found) != 1:
        raise BadRequest("the Content-Type is not one media type")
    return found[0]


def read_accept(text: str) -> list[MediaRange]:
    """Return the ranges of an Accept header, the best first; those of quality 0 are left out. Raises `BadRequest`."""
    if len(text) > MAX_LENGTH:
        raise BadRequest("the Accept header is too long")
    found, at = [], 0
    while at < len(text):
        named = _TYPE.match(text, at)
        if named is None:
            raise BadRequest("the media type is malformed; write type/subtype; parameter=value")
        parameters, at = {}, named.end()
        while parameter := _PARAMETER.match(text, at):
            value = parameter[2] if parameter[2] is not None else parameter[3]
            parameters[parameter[1].lower()] = value
            at = parameter.end()
        if at < len(text) and text[at] != ",":
            raise BadRequest("the media type is malformed; quote values that hold a slash")
        at += 1
        found.append(_checked(MediaRange(named[1].lower(), parameters)))
    return sorted((one for one in found if one.quality > 0), key=lambda one: -one.quality)


def accepted(request: Request) -> list[MediaRange]:
    """Return what the client of this request accepts: `*/*` where it says nothing. Raises `BadRequest`."""
    text = request.query_params.get("accept") or ",".join(request.headers.getlist("accept"))
    return read_accept(text) if text.strip() else [MediaRange("*/*")]


def agree(ranges: Sequence[MediaRange], offered: Iterable[str], *, parts: bool, alone: bool) -> list[Agreed]:
    """Return what can be given of the media types `offered` (the default first), in the client's order.

    `parts`: as `multipart/related`, which is the default then; `alone`: as a single part.
    """
    offers, found = tuple(offered), dict[tuple[str, bool], list[str]]()
    for one in ranges:
        kinds = offers if not one.multipart else tuple(o for o in offers if _fits(one.inner or offers[0], o))
        if one.multipart or (parts and one.type in ("*/*", "multipart/*")):
            chosen = [(kind, True) for kind in kinds if parts]
        else:
            chosen = [(kind, False) for kind in kinds if alone and _fits(one.type, kind)]
        for kind in chosen:
            syntaxes = found.setdefault(kind, [])
            if one.transfer_syntax and one.transfer_syntax not in syntaxes:
                syntaxes.append(one.transfer_syntax)
    return [Agreed(kind, multipart, tuple(syntaxes)) for (kind, multipart), syntaxes in found.items()]


def _checked(one: MediaRange) -> MediaRange:
    if one.transfer_syntax and not _UID.fullmatch(one.transfer_syntax):
        raise BadRequest("the transfer-syntax of the media type is no UID and not *")
    return one


def _fits(wanted: str, offered: str) -> bool:
    main, _, sub = wanted.partition("/")
    return wanted in ("*/*", offered) or (sub == "*" and offered.startswith(f"{main}/"))
