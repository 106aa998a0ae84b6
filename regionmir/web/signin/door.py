"""The door: every request comes in by it as somebody, or does not come in."""

from dataclasses import dataclass

import structlog
from anyio import to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from regionmir.core.errors import DatabaseUnavailable
from regionmir.web.signin.addresses import client_address
from regionmir.web.signin.answers import AWAY, refusal, sign_in_first
from regionmir.web.signin.caller import WebCaller, anonymous, caller_of
from regionmir.web.signin.cookies import csrf_of, is_csrf_of
from regionmir.web.signin.errors import SignInRefused
from regionmir.web.signin.exposure import is_loopback
from regionmir.web.signin.forms import form_field
from regionmir.web.signin.proxy import identity_of
from regionmir.web.signin.service import SignIn

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing (RFC 9110 9.2.1)."""
OPEN = frozenset({"/healthz", "/readyz", "/static/style.css", "/static/icon.svg", "/api/v1/health"})
"""Answered to anybody: they tell nothing worth hiding."""
PAGES = ("/sign-in", "/sign-in/oidc", "/sign-in/oidc/callback")
"""Where those who are not signed in go."""
READS_BY_POST: tuple[str, ...] = ("/api/v1/queries", "/dicom-web/studies")
"""Paths, with all below them, to which callers that may not write may POST: it asks, or the route itself decides."""
TAKES_TOKENS = "/api/v1/"
"""Below it an Authorization header is for the route to read: it says in its own form what is wrong with a token."""
VIEWER = "/api/v1/ohif/"
"""But not below this one, which the viewer asks as it asks DICOMweb."""

_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """Who comes in, and by which session; `is_new`: the browser must be told its token."""

    caller: WebCaller
    token: str = ""
    is_new: bool = False
    by_token: bool = False
    """The route reads the token; no cookie speaks for the caller, so no other page can."""


class Door:
    """Resolves the caller of every request once (`scope["state"]["caller"]`) and refuses who is nobody, a change that
    the caller may not make, and one that another page has the browser ask for (CSRF)."""

    def __init__(self, app: ASGIApp, sign_in: SignIn, reads_by_post: tuple[str, ...] = READS_BY_POST) -> None:
        self._app = app
        self._sign_in = sign_in
        self._reads_by_post = reads_by_post

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)
        entry = await self._entry(scope, headers)
        if isinstance(entry, Response):
            await entry(scope, receive, send)
            return
        refused, receive = await self._check(scope, headers, entry, receive)
        state = scope.setdefault("state", {})
        state["caller"], state["session_token"] = entry.caller, entry.token
        await (refused or self._app)(scope, receive, self._with_cookie(send, entry))

    async def _entry(self, scope: Scope, headers: Headers) -> Entry | Response:
        """Return who comes in, or the answer to who does not."""
        address = client_address(scope, self._sign_in.proxies)
        if scope["path"] in OPEN:
            return Entry(anonymous(address))
        try:
            found = await self._find(scope, headers, address)
        except SignInRefused as error:
            return refusal(headers, error.status, "Not signed in", str(error))
        except DatabaseUnavailable:
            return refusal(headers, 503, "Not available", AWAY)
        if found is not None:
            return found
        if scope["path"] in PAGES:
            return Entry(anonymous(address))
        return sign_in_first(scope, headers, can_sign_in=self._sign_in.way in ("local", "oidc"))

    async def _find(self, scope: Scope, headers: Headers, address: str) -> Entry | None:
        is_api = scope["path"].startswith(TAKES_TOKENS) and not scope["path"].startswith(VIEWER)
        if "authorization" in headers and is_api:
            return Entry(anonymous(address), by_token=True)
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return await to_thread.run_sync(self._by_bearer, bearer.strip(), address)
        if self._sign_in.way == "none":
            if is_api:  # which says itself that who is not of this machine needs one
                return Entry(anonymous(address))
            return self._anybody(headers, address)
        if self._sign_in.way == "proxy":
            return await to_thread.run_sync(self._by_proxy, scope, headers, address)
        token = self._sign_in.cookie.read(headers)
        return await to_thread.run_sync(self._by_session, token, address) if token else None

    def _by_bearer(self, token: str, address: str) -> Entry | None:
        find = self._sign_in.find_bearer
        found = find(token, address) if find is not None and token else None
        if found is None:
            raise SignInRefused("token", "This token is unknown or has expired.", status=401)
        return Entry(found)

    def _anybody(self, headers: Headers, address: str) -> Entry:
        """Return the entry of who need not sign in: on the loopback, unless a proxy there lets others in."""
        settings = self._sign_in.settings
        if not settings.http_without_signin and (
            not is_loopback(settings.http_host) or any(name in headers for name in _FORWARDED)
        ):
            raise SignInRefused("exposed", "A proxy lets others in, and nobody signs in here: set REGIONMIR_SIGNIN.")
        return Entry(anonymous(address))

    def _by_session(self, token: str, address: str) -> Entry | None:
        user = self._sign_in.accounts.whose(token)
        return None if user is None else Entry(caller_of(user, address, csrf_of(token)), token)

    def _by_proxy(self, scope: Scope, headers: Headers, address: str) -> Entry | None:
        """Return the entry of whom the proxy names, under a session of that user: a new one if there is none."""
        sign_in = self._sign_in
        identity = identity_of(scope, sign_in.settings, sign_in.proxies)
        token = sign_in.cookie.read(headers)
        user = sign_in.accounts.whose(token)
        if user is not None and sign_in.accounts.is_still(user, identity):
            return Entry(caller_of(user, address, csrf_of(token)), token)
        sign_in.accounts.require_patience(address)
        token = sign_in.accounts.sign_in_external(identity, address, token)
        user = sign_in.accounts.whose(token)
        return None if user is None else Entry(caller_of(user, address, csrf_of(token)), token, is_new=True)

    async def _check(
        self, scope: Scope, headers: Headers, entry: Entry, receive: Receive
    ) -> tuple[Response | None, Receive]:
        """Return why a change is refused, if it is, and from where its body is to be read now."""
        path = str(scope["path"])
        # signing in is guarded by Origin alone: there is no session
        if scope["method"] in SAFE or entry.by_token or path == "/sign-in":
            return None, receive
        if entry.token:
            stated = headers.get("x-csrf-token")
            if stated is None:
                stated, receive = await form_field(headers, receive, "csrf")
            if not is_csrf_of(entry.token, stated):
                log.warning("change refused: no token of its page", method=scope["method"])
                said = "This form is too old, or not ours. Load the page again and repeat what you did."
                return refusal(headers, 403, "Not done", said), receive
        asks = scope["method"] == "POST" and any(path == p or path.startswith(f"{p}/") for p in self._reads_by_post)
        if not entry.caller.may_write and not asks and path != "/sign-out":
            return refusal(headers, 403, "Not allowed", "You may look and not change anything here."), receive
        return None, receive

    def _with_cookie(self, send: Send, entry: Entry) -> Send:
        if not entry.is_new:
            return send

        async def with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._sign_in.cookie.write(MutableHeaders(scope=message), entry.token)
            await send(message)

        return with_cookie
