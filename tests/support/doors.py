"""The door of the web process around a small application that tells who came in."""

import asyncio
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import httpx
from fastapi import FastAPI
from starlette.requests import Request

from db.engine import Database
from regionmir.core.settings import Settings
from regionmir.web.guard import LOOPBACK_NAMES, Guard
from regionmir.web.signin import routes
from regionmir.web.signin.caller import AdminOf, CallerOf, FindBearer, WriterOf
from regionmir.web.signin.door import Door
from regionmir.web.signin.exposure import is_secure
from regionmir.web.signin.service import SignIn, make_sign_in

OUR_PAGE = {"Origin": "http://localhost:8080", "Sec-Fetch-Site": "same-origin"}


@dataclass
class _Site:
    sign_in: SignIn


def url_of(database: Database) -> str:
    return database.url.set(drivername="postgresql").render_as_string(hide_password=False)


def telling(sign_in: SignIn) -> Guard:
    """Return the application behind guard and door."""
    app = FastAPI()
    app.state.site = _Site(sign_in)
    app.include_router(routes.router)

    @app.api_route("/who", methods=["GET", "HEAD"])
    def who(caller: CallerOf) -> dict[str, Any]:
        return {
            "name": caller.name, "role": caller.role, "disclosure": caller.disclosure, "may_write": caller.may_write,
            "address": caller.address, "csrf": caller.csrf, "way": caller.way,
        }  # fmt: skip

    @app.post("/write")
    async def write(caller: WriterOf, request: Request) -> dict[str, Any]:
        return {"name": caller.name, "body": (await request.body()).decode()}

    @app.post("/ask/similar")
    def ask(caller: CallerOf) -> dict[str, Any]:
        return {"name": caller.name}

    @app.get("/admin")
    def admin(caller: AdminOf) -> dict[str, Any]:
        return {"name": caller.name}

    return Guard(Door(app, sign_in, ("/ask",)), LOOPBACK_NAMES, secure=is_secure(sign_in.settings))


@dataclass
class Browser:
    """Sends requests as a browser on `address` would: with its cookies, and Origin from a page of ours."""

    app: Guard
    address: str = "127.0.0.1"
    base_url: str = "http://localhost:8080"
    cookies: httpx.Cookies = field(default_factory=httpx.Cookies)

    def request(self, method: str, path: str, headers: dict[str, str] | None = None, **options: Any) -> httpx.Response:
        return asyncio.run(self._request(method, path, headers or {}, **options))

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.request("GET", path, {name.replace("_", "-"): value for name, value in headers.items()})

    def post(self, path: str, form: dict[str, str] | None = None, **headers: str) -> httpx.Response:
        sent = OUR_PAGE | {"Content-Type": "application/x-www-form-urlencoded"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request("POST", path, sent, content=urlencode(form or {}))

    def sign_in(self, name: str, password: str, **headers: str) -> httpx.Response:
        return self.post("/sign-in", {"name": name, "password": password}, **headers)

    def who(self, **headers: str) -> dict[str, Any]:
        response = self.get("/who", **headers)
        assert response.status_code == 200, response.text
        return dict(response.json())

    async def _request(self, method: str, path: str, headers: dict[str, str], **options: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, client=(self.address, 40000))
        async with httpx.AsyncClient(transport=transport, base_url=self.base_url, cookies=self.cookies) as client:
            response = await client.request(method, path, headers=headers, **options)
            self.cookies = client.cookies
            return response


def door(database_url: str, find_bearer: FindBearer | None = None, **settings: Any) -> tuple[Guard, SignIn]:
    """Return the application under these settings, and its sign-in to be closed."""
    sign_in = make_sign_in(Settings(database_url=database_url, **settings), find_bearer)
    return telling(sign_in), sign_in
