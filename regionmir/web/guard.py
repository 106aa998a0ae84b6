"""What every request must pass and every answer carries: names, origins, methods, security headers."""

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from regionmir.core.errors import ConfigurationError
from regionmir.core.settings import Settings

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
PROBES = frozenset({"/healthz", "/readyz"})
"""Probes come by an address, not a name, and are told nothing worth hiding."""

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
}


class Guard:
    """Lets through GET, HEAD and POST for a name of ours from a page of ours; a foreign page that points a name of its
    own at our address (DNS rebinding) gets nothing. A POST must say that it comes from a page of ours."""

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self._app = app
        self._names = frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(str(scope["method"]), str(scope["path"]), Headers(scope=scope))

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await (refusal or self._app)(scope, receive, with_headers)

    def _refusal(self, method: str, path: str, headers: Headers) -> Response | None:
        if method not in ("GET", "HEAD", "POST"):
            return PlainTextResponse("This service has pages and forms only.\n", 405, {"Allow": "GET, HEAD, POST"})
        if path in PROBES:
            return None
        hosts = headers.getlist("host")
        if len(hosts) != 1 or _name(hosts[0]) not in self._names:
            return PlainTextResponse("Not a name of this service; see REGIONMIR_HTTP_NAMES.\n", 421)
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != hosts[0].lower():
            return PlainTextResponse("Not for pages of other origins.\n", 403)
        if method == "POST" and origin is None:
            return PlainTextResponse("A form must come from a page of ours: its Origin is missing.\n", 403)
        foreign = headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
        if foreign and headers.get("sec-fetch-mode") != "navigate":
            return PlainTextResponse("Not for pages of other origins.\n", 403)
        return None


def allowed_names(settings: Settings) -> frozenset[str]:
    """Return the names by which a browser may ask for us: the loopback's, and those of `http_names`.

    Raises `ConfigurationError` if we listen where others can reach us and no name is set.
    """
    named = frozenset(name.strip().lower() for name in settings.http_names.split(",") if name.strip())
    if not is_loopback(settings.http_host) and not named:
        raise ConfigurationError(
            f"http_host {settings.http_host} can be reached by others and pages need no sign-in: keep 127.0.0.1, or "
            "set REGIONMIR_HTTP_NAMES to the names under which browsers may ask"
        )
    return LOOPBACK_NAMES | named


def is_loopback(host: str) -> bool:
    """True for `localhost` and the addresses 127.0.0.0/8 and ::1."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _name(host: str) -> str:
    """Return the name in a Host header (RFC 9110 7.2), without port and brackets; empty if it is malformed."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return ""
    if parts.username is not None or parts.path or parts.query or parts.fragment:
        return ""
    return (parts.hostname or "").removesuffix(".")
