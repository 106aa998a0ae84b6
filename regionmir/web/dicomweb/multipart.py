"""Answers of several parts (PS3.18 8.6.1.2, RFC 2387), written as they are made."""

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from starlette.responses import Response, StreamingResponse

from regionmir.web.dicomweb.tables import RELATED

KEEP = {"Cache-Control": "private, max-age=3600"}
"""Pixels of an instance never change under its UID but for corrections; nobody but the client may keep them."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part: its media type with parameters, and its content in pieces."""

    content_type: str
    content: Iterable[bytes]


def single(part: Part, status: int = 200) -> Response:
    """Return an answer that is the part and nothing else."""
    return StreamingResponse(iter(part.content), status, KEEP, part.content_type)


def related(parts: Iterable[Part], inner: str, status: int = 200) -> Response:
    """Return `multipart/related` of these parts, whose media type is `inner`."""
    boundary = secrets.token_hex(16)
    content_type = f'{RELATED}; type="{inner}"; boundary={boundary}'
    return StreamingResponse(_written(parts, boundary), status, KEEP, content_type)


def _written(parts: Iterable[Part], boundary: str) -> Iterator[bytes]:
    for part in parts:
        yield f"--{boundary}\r\nContent-Type: {part.content_type}\r\n\r\n".encode("ascii")
        yield from part.content
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode("ascii")
