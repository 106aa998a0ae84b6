"""Asks an ASGI application without a network, one request at a time."""

import asyncio
from typing import Any

import httpx
from starlette.types import ASGIApp


class WebClient:
    """A client whose requests carry `Host: localhost:8080` unless told otherwise."""

    def __init__(self, app: ASGIApp) -> None:
        self._transport = httpx.ASGITransport(app)

    def request(self, method: str, path: str, headers: dict[str, str] | None = None, **content: Any) -> httpx.Response:
        """`content`: `json`, or `content` (bytes, or chunks that are sent one by one)."""
        return asyncio.run(self._request(method, path, headers or {}, content))

    def get(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        return self.request("GET", path, headers)

    async def _request(
        self, method: str, path: str, headers: dict[str, str], content: dict[str, Any]
    ) -> httpx.Response:
        options: dict[str, Any] = {"transport": self._transport, "base_url": "http://localhost:8080"}
        async with httpx.AsyncClient(**options) as client:
            return await client.request(method, path, headers=headers, **content)
