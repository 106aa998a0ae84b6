"""Pictures as answers that a browser keeps: asked again, it is told that nothing has changed (RFC 9110 13.1.2)."""

from hashlib import sha256
from typing import Final

from fastapi import Request
from fastapi.responses import Response

_KEEP_S: Final = 3600


def kept_picture(request: Request, content: bytes, media_type: str) -> Response:
    """Return the answer that holds a picture, or that says that the asker's is still the one.

    Its ETag is the hash of what is shown: one made of the stored object would tell who has that object whose it is.
    """
    tag = f'"{sha256(content).hexdigest()[:32]}"'
    headers = {"Cache-Control": f"private, max-age={_KEEP_S}", "ETag": tag}
    known = {one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")}
    if known & {tag, "*"}:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)
