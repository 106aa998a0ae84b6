"""Who sends a request, what it may do and what it may see: the one dependency that says so.

A bearer token says who (RFC 6750), else a browser's session (`regionmir.web.signin`). Without either, a request from
this machine is anonymous: pseudonymous and read-only.
"""

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import Depends, Request

from db import api_tokens
from db.engine import Database
from regionmir.core.errors import RegionMirError
from regionmir.core.identifiers import AETitle, parse_ae_title
from regionmir.core.records import Caller as Asker
from regionmir.core.records import Disclosure, Rights, Role
from regionmir.web.caller import WEB_AE
from regionmir.web.guard import LOOPBACK_NAMES
from regionmir.web.signin.caller import FindBearer, Scope, WebCaller
from regionmir.web.signin.exposure import is_loopback
from regionmir.web.site import Site, SiteOf

_FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-real-ip")
_AE_PREFIX: Final = "API:"
_NOT_IN_TITLES: Final = re.compile(r"[^\x20-\x5b\x5d-\x7e]")


class NotSignedIn(RegionMirError):
    """No caller: answered 401. `code` is a short stable word."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class NotAllowed(RegionMirError):
    """A caller without the scope, or the disclosure, that is needed: answered 403."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request. `name`: of a token or a user; a person's name is never one."""

    name: str
    address: str
    disclosure: Disclosure
    scopes: frozenset[Scope]
    registered: bool = True
    """False for anonymous callers: their answers are not kept."""
    user: str = ""
    """The login name of a person, whom the audit trail names; empty for tokens, which have an AE title of their own."""

    @property
    def identified(self) -> bool:
        """True if original identities may be shown."""
        return self.disclosure is Disclosure.IDENTIFIED

    @property
    def ae_title(self) -> AETitle:
        """Return the name under which queries are logged, beside the AE titles of DICOM callers."""
        return parse_ae_title(_AE_PREFIX + _in_title(self.name))

    @property
    def guesser(self) -> str:
        """Return the name under which guesses are counted, the one of the same caller by DICOMweb."""
        return self.name if self.registered else WEB_AE

    def asker(self) -> Asker:
        """Return the caller as queries know it."""
        rights = Rights(find=True)
        return Asker(self.ae_title, self.address, rights, self.disclosure, registered=False, user=self.user)


ANONYMOUS: Final = "anonymous"


def caller(request: Request, site: SiteOf) -> Caller:
    """Return who sends a request. Raises `NotSignedIn`."""
    authorization = request.headers.get("authorization")
    if authorization is not None:
        return _bearer(site, authorization, _address(request))
    visitor: WebCaller | None = request.scope.get("state", {}).get("caller")
    if visitor is not None and visitor.way:
        return _signed_in(visitor)
    if _is_local(request, site):
        scopes = frozenset({Scope.QUERY, Scope.READ})
        return Caller(ANONYMOUS, _address(request), Disclosure.PSEUDONYMOUS, scopes, registered=False)
    raise NotSignedIn("token-required", "send `Authorization: Bearer TOKEN`; `regionmir tokens add` makes one")


CallerOf = Annotated[Caller, Depends(caller)]
"""A route's parameter of this type is who sends the request."""


def require(scope: Scope) -> Callable[[Caller], None]:
    """Return a dependency that lets only callers with this scope pass. It raises `NotAllowed`."""

    def check(who: CallerOf) -> None:
        if scope not in who.scopes:
            raise NotAllowed(f"this needs a token with the scope {scope}; see `regionmir tokens add --help`")

    return check


def find_bearer(database: Database, writable: Database) -> FindBearer:
    """Return what says whom an API token speaks for outside the API; `writable`: where it notes that it was used."""

    def find(token: str, address: str) -> WebCaller | None:
        with database.session() as session:
            found = api_tokens.find(session, token)
        if found is None or found.revoked_at is not None or found.expired(dt.datetime.now(dt.UTC)):
            return None
        with writable.session() as session:
            api_tokens.note_used(session, found.name)
        scopes = frozenset(map(Scope, found.scopes))
        role = Role.READER if Scope.WRITE in scopes else Role.VIEWER
        return WebCaller(found.name, role, found.disclosure, scopes, address, way="token")

    return find


def _signed_in(visitor: WebCaller) -> Caller:
    """Return the caller that a signed-in user is here."""
    return Caller(visitor.name, visitor.address, visitor.disclosure, visitor.scopes, user=visitor.name)


def _bearer(site: Site, authorization: str, address: str) -> Caller:
    kind, _, token = authorization.partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        raise NotSignedIn("token-required", "the Authorization header must be `Bearer TOKEN`")
    with site.database.session() as session:
        found = api_tokens.find(session, token.strip())
    if found is None or found.revoked_at is not None:
        raise NotSignedIn("token-unknown", "this token is not known, or was revoked; `regionmir tokens list` shows all")
    if found.expired(dt.datetime.now(dt.UTC)):
        raise NotSignedIn("token-expired", "this token has expired; `regionmir tokens add` makes a new one")
    with site.writable.session() as session:
        api_tokens.note_used(session, found.name)
    return Caller(found.name, address, found.disclosure, frozenset(map(Scope, found.scopes)))


def _in_title(name: str) -> str:
    """Return a name in at most 12 characters of an AE title (PS3.5 6.2); a digest tells apart what does not fit."""
    plain = _NOT_IN_TITLES.sub("?", name)
    if plain == name and len(name) <= 16 - len(_AE_PREFIX):
        return name
    digest = sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{plain[:6]}~{digest[:5]}"


def _is_local(request: Request, site: Site) -> bool:
    """Return whether a request comes from this machine and, as far as can be told, through no proxy."""
    name = (urlsplit(f"//{request.headers.get('host', '')}").hostname or "").removesuffix(".")
    return (
        is_loopback(site.settings.http_host)
        and is_loopback(_address(request))
        and name in LOOPBACK_NAMES
        and not any(header in request.headers for header in _FORWARDED)
    )


def _address(request: Request) -> str:
    return request.client.host if request.client else ""
