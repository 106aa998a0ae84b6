"""Forms that pages send: small, urlencoded, and ours."""

from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, HTTPException, Request

from regionmir.web.visitors import visitors_of

MAX_BYTES = 16_384
MAX_FIELDS = 64
_MEDIA_TYPE = "application/x-www-form-urlencoded"


async def _form(request: Request) -> dict[str, str]:
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != _MEDIA_TYPE:
        raise HTTPException(415, f"A form must be sent as {_MEDIA_TYPE}.")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BYTES:
            raise HTTPException(413, f"A form has at most {MAX_BYTES} bytes.")
    try:
        sent = dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError:
        raise HTTPException(400, "The form cannot be read. Load the page again and repeat what you did.") from None
    if not visitors_of(request).is_own_form(request, sent.pop("csrf", "")):
        raise HTTPException(403, "This form is too old. Load the page again and repeat what you did.")
    return sent


def back_to(form: dict[str, str], fallback: str) -> str:
    """Return the path of our own page that the form came from."""
    path = form.get("back", "")
    safe = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if safe and path.isascii() else fallback


FormOf = Annotated[dict[str, str], Depends(_form)]
"""A route's parameter of this type is the form that was sent, the last value of each field."""
