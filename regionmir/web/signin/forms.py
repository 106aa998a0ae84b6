"""Small urlencoded forms, read before the route does."""

from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Message, Receive

MEDIA_TYPE = "application/x-www-form-urlencoded"
MAX_BYTES = 65_536
_MAX_FIELDS = 200


async def form_field(headers: Headers, receive: Receive, name: str) -> tuple[str, Receive]:
    """Return a field of the form that is sent, and from where the route reads the same body again.

    Empty for what is no urlencoded form, too large or malformed: a multipart body states what it must in a header.
    """
    if headers.get("content-type", "").split(";")[0].strip().lower() != MEDIA_TYPE:
        return "", receive
    body, messages = b"", list[Message]()
    while True:
        message = await receive()
        messages.append(message)
        body += message.get("body", b"")
        if len(body) > MAX_BYTES:
            return "", _again(messages, receive)
        if not message.get("more_body", False):
            return parsed(body).get(name, ""), _again(messages, receive)


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a small urlencoded form, the last value of each; none if it is something else."""
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != MEDIA_TYPE:
        return {}
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BYTES:
            return {}
    return parsed(body)


def parsed(body: bytes) -> dict[str, str]:
    """Return the fields of an urlencoded body, none if it is malformed."""
    try:
        return dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=_MAX_FIELDS))
    except ValueError:
        return {}


def _again(messages: list[Message], receive: Receive) -> Callable[[], Awaitable[Message]]:
    kept = iter(messages)

    async def replay() -> Message:
        return next(kept, None) or await receive()

    return replay
