"""What every request must pass and every answer carries: names, origins, methods, security headers."""

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from regionmir.core.errors import ConfigurationError
from regionmir.core.settings import Settings
from regionmir.web.signin.exposure import external_name, is_loopback, listed

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
PROBES = frozenset({"/healthz", "/readyz"})
"""Probes come by an address, not a name, and are told nothing worth hiding."""

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
_READING = METHODS[:3]
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_TRANSPORT_SECURITY = "max-age=31536000"
_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
}


class Guard:
    """Lets through what asks for a name of ours and comes from a page of ours, or from no page; a foreign page that
    points a name of its own at our address (DNS rebinding), or sends a form to us, gets nothing.

    An answer may state a `Content-Security-Policy` of its own. `secure`: browsers reach us by https only.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str], *, secure: bool = False) -> None:
        self._app = app
        self._names = frozenset(names)
        self._headers = _HEADERS | ({"Strict-Transport-Security": _TRANSPORT_SECURITY} if secure else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(str(scope["method"]), str(scope["path"]), Headers(scope=scope))

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
                headers.setdefault("Content-Security-Policy", _CONTENT_SECURITY_POLICY)
            await send(message)

        await (refusal or self._app)(scope, receive, with_headers)

    def _refusal(self, method: str, path: str, headers: Headers) -> Response | None:
        if method not in METHODS:
            return PlainTextResponse("There is no such method here.\n", 405, {"Allow": ", ".join(METHODS)})
        if path in PROBES:
            return None
        hosts = headers.getlist("host")
        if len(hosts) != 1 or _name(hosts[0]) not in self._names:
            return PlainTextResponse("Not a name of this service; see REGIONMIR_HTTP_NAMES.\n", 421)
        origin = headers.get("origin")
        if origin is not None and _host_of(origin) != hosts[0].lower():
            return PlainTextResponse("Not for pages of other origins.\n", 403)
        foreign = headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
        if foreign and (method not in _READING or headers.get("sec-fetch-mode") != "navigate"):
            return PlainTextResponse("Not for pages of other origins.\n", 403)
        return None


def allowed_names(settings: Settings) -> frozenset[str]:
    """Return the names by which a browser may ask for us: the loopback's, and those of the settings.

    Raises `ConfigurationError` if we listen where others can reach us and no name is set.
    """
    named = frozenset(name.lower() for name in (*listed(settings.http_names), external_name(settings)) if name)
    if not is_loopback(settings.http_host) and not named:
        raise ConfigurationError(
            f"http_host {settings.http_host} can be reached by others: set REGIONMIR_HTTP_NAMES to the names under "
            "which browsers may ask, or REGIONMIR_HTTP_EXTERNAL_URL"
        )
    return LOOPBACK_NAMES | named


def _host_of(origin: str) -> str:
    """Return name and port in an Origin header (RFC 6454 7), empty if it is malformed."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


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
