"""What surrounds every request of the API: bodies are capped while they come in, and no error gets out as it is."""

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from regionmir.core.errors import origin

JSON_BYTES = 64 * 2**10
"""Largest body of any request but an upload."""

log = structlog.get_logger(__name__)


class Contained:
    """Passes requests on. A body beyond its limit ends in 413 as soon as that is seen, not when it has all come.

    An error that no handler knows is logged by its kind and place alone: its text may hold what was sent.
    """

    def __init__(self, app: ASGIApp, *, upload_path: str, max_upload_bytes: int) -> None:
        self._app = app
        self._upload_path = upload_path
        self._max_upload_bytes = max_upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            await self._app(scope, self._capped(scope, receive), send)
        except Exception as error:  # it is answered already, as a problem
            log.error("request failed", error=type(error).__name__, at=origin(error), method=scope["method"])

    def _capped(self, scope: Scope, receive: Receive) -> Receive:
        is_upload = scope["path"].endswith(self._upload_path)
        limit = self._max_upload_bytes if is_upload else JSON_BYTES
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        total = 0

        async def capped() -> Message:
            nonlocal total
            if not declared.isdigit() or int(declared) > limit:
                raise HTTPException(413)
            message = await receive()
            total += len(message.get("body", b""))
            if total > limit:
                raise HTTPException(413)
            return message

        return capped
