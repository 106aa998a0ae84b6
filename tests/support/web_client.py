"""Asks an ASGI application without a network, one request at a time."""

import asyncio
from typing import Any
from urllib.parse import urlencode

import httpx
from starlette.types import ASGIApp


class WebClient:
    """A client whose requests carry `Host: localhost:8080` unless told otherwise, and `headers`, such as a cookie."""

    def __init__(self, app: ASGIApp, headers: dict[str, str] | None = None) -> None:
        self._transport = httpx.ASGITransport(app)
        self._headers = headers or {}

    def request(self, method: str, path: str, headers: dict[str, str] | None = None, **content: Any) -> httpx.Response:
        """`content`: `json`, or `content` (bytes, or chunks that are sent one by one)."""
        return asyncio.run(self._request(method, path, self._headers | (headers or {}), content))

    def get(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        return self.request("GET", path, headers)

    def post(self, path: str, form: dict[str, str], headers: dict[str, str] | None = None) -> httpx.Response:
        """Send a form as a page of ours does."""
        ours = {"Origin": "http://localhost:8080", "Content-Type": "application/x-www-form-urlencoded"}
        return self.request("POST", path, {**ours, **(headers or {})}, content=urlencode(form))

    async def _request(
        self, method: str, path: str, headers: dict[str, str], content: dict[str, Any]
    ) -> httpx.Response:
        options: dict[str, Any] = {"transport": self._transport, "base_url": "http://localhost:8080"}
        async with httpx.AsyncClient(**options) as client:
            return await client.request(method, path, headers=headers, **content)
