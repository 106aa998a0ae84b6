"""How long HTTP requests take, for Prometheus and traces. Paths are no labels: they hold UIDs."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from regionmir.monitoring.figures import HTTP_S
from regionmir.monitoring.tracing import span
from regionmir.web.guard import METHODS


class Measured:
    """Measures each request from its head to the end of its answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        method = scope["method"] if scope["method"] in METHODS else "other"
        try:
            with span(f"HTTP {method}"):
                await self._app(scope, receive, noting)
        finally:
            HTTP_S.labels(method, f"{status // 100}xx").observe(time.perf_counter() - began)
