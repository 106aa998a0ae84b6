"""Pictures as answers that a browser keeps: asked again, it is told that nothing has changed (RFC 9110 13.1.2)."""

from collections.abc import Callable
from hashlib import sha256
from typing import Final

from fastapi import Request
from fastapi.responses import Response

from regionmir.web.pictures import Small

_KEEP_S: Final = 3600
_CUT_BY: Final = 1
"""Of the way from a rendition to a small picture: another number where pictures that browsers keep look otherwise."""


def kept_picture(request: Request, content: bytes, media_type: str) -> Response:
    """Return the answer that holds a picture, or that says that the asker's is still the one.

    Its ETag is the hash of what is shown: one made of the stored object would tell who has that object whose it is.
    """
    return _answer(request, sha256(content).hexdigest(), lambda: content, media_type)


def kept_small(request: Request, picture: Small) -> Response:
    """Return the answer of `kept_picture` for a small picture: it is not drawn where the asker's is still the one."""
    made_of = sha256(picture.rendition)
    made_of.update(repr((_CUT_BY, *picture.how)).encode())
    return _answer(request, made_of.hexdigest(), picture.drawn, "image/jpeg")


def _answer(request: Request, made_of: str, draw: Callable[[], bytes], media_type: str) -> Response:
    tag = f'"{made_of[:32]}"'
    headers = {"Cache-Control": f"private, max-age={_KEEP_S}", "ETag": tag}
    known = {one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")}
    if known & {tag, "*"}:
        return Response(status_code=304, headers=headers)
    return Response(draw(), media_type=media_type, headers=headers)
