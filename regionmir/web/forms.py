"""Forms that pages send: small and urlencoded. That they are ours, the door has checked."""

from typing import Annotated

from fastapi import Depends, HTTPException, Request

from regionmir.web.signin.answers import own_path
from regionmir.web.signin.forms import MAX_BYTES, MEDIA_TYPE, parsed


async def _form(request: Request) -> dict[str, str]:
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != MEDIA_TYPE:
        raise HTTPException(415, f"A form must be sent as {MEDIA_TYPE}.")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BYTES:
            raise HTTPException(413, f"A form has at most {MAX_BYTES} bytes.")
    return parsed(body)


def back_to(form: dict[str, str], fallback: str) -> str:
    """Return the path of our own page that the form came from."""
    path = form.get("back", "")
    return path if path and own_path(path) == path else fallback


FormOf = Annotated[dict[str, str], Depends(_form)]
"""A route's parameter of this type is the form that was sent, the last value of each field."""
