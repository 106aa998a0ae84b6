"""The cookie by which a browser is known again: a random token, of which we keep the hash."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser

_SECONDS_OF_A_VISIT = 600


@dataclass(frozen=True, slots=True)
class Cookie:
    """One cookie for the whole site: no script reads it and no foreign page sends it but by a link.

    With TLS it has the prefix `__Host-` (RFC 6265bis 4.1.3): no neighbouring host can plant it.
    """

    base: str
    secure: bool
    max_age_s: int | None = None
    """None: until the browser is closed; the session ends on our side anyway."""

    @property
    def name(self) -> str:
        """The name that the browser sees."""
        return f"__Host-{self.base}" if self.secure else self.base

    def read(self, headers: Headers) -> str:
        """Return the token that a request carries, empty if none."""
        return cookie_parser("; ".join(headers.getlist("cookie"))).get(self.name, "")

    def write(self, headers: MutableHeaders, token: str) -> None:
        """Give the token to the browser."""
        age = "" if self.max_age_s is None else f"; Max-Age={self.max_age_s}"
        headers.append("Set-Cookie", f"{self.name}={token}{self._attributes}{age}")

    def clear(self, headers: MutableHeaders) -> None:
        """Make the browser forget the token."""
        headers.append("Set-Cookie", f"{self.name}={self._attributes}; Max-Age=0")

    @property
    def _attributes(self) -> str:
        return "; Path=/; HttpOnly; SameSite=Lax" + ("; Secure" if self.secure else "")


def session_cookie(secure: bool) -> Cookie:
    """Return the cookie of a session."""
    return Cookie("regionmir", secure)


def visit_cookie(secure: bool) -> Cookie:
    """Return the cookie of a browser that is on its way to the OpenID provider and back."""
    return Cookie("regionmir-visit", secure, _SECONDS_OF_A_VISIT)


def new_token() -> str:
    """Return a token that nobody guesses (256 bits)."""
    return secrets.token_urlsafe(32)


def hashed(token: str) -> str:
    """Return what the database keeps of a token: who reads it there cannot use it."""
    return hashlib.sha256(token.encode()).hexdigest()


def csrf_of(token: str) -> str:
    """Return the value that requests of this session must state besides the cookie; it tells nothing of the token."""
    return hmac.new(token.encode(), b"csrf", hashlib.sha256).hexdigest()


def is_csrf_of(token: str, stated: str) -> bool:
    """True if a request states the value of its session; takes as long for any wrong one."""
    return hmac.compare_digest(csrf_of(token).encode(), stated.encode())
