"""Who asks, as routes see it: `CallerOf`, `WriterOf` and `AdminOf` are the parameters to declare."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final

from fastapi import Depends, HTTPException, Request

from db.users import User
from regionmir.core.records import Disclosure, Role

ANONYMOUS = "anonymous"


class Scope(StrEnum):
    """What a caller may do, whichever way it comes in."""

    QUERY = "query"
    """Ask for similar regions."""
    READ = "read"
    """See studies, instances, regions, pictures and kept answers; retrieve."""
    WRITE = "write"
    """Store, upload films, rate hits, send results, and have answers kept under a code."""
    ADMIN = "admin"
    """Delete instances, studies and patients."""


_LOOKING: Final = frozenset({Scope.QUERY, Scope.READ})


@dataclass(frozen=True, slots=True)
class WebCaller:
    """Who asks over HTTP: resolved once per request by the door, trusted inside."""

    name: str
    """For people and the audit trail; `anonymous` where nobody signs in."""
    role: Role
    disclosure: Disclosure
    scopes: frozenset[Scope]
    """A token's own; of people, what their role allows."""
    address: str
    csrf: str = ""
    """What a form must carry as `csrf`, a script as `X-CSRF-Token`; empty where no cookie speaks for the caller."""
    way: str = ""
    """How the caller signed in (`local`, `oidc`, `proxy`, `token`); empty: not at all."""

    @property
    def may_write(self) -> bool:
        """True if it may change something."""
        return Scope.WRITE in self.scopes

    @property
    def is_admin(self) -> bool:
        """True if it may see the pages of administrators."""
        return self.role is Role.ADMIN


FindBearer = Callable[[str, str], WebCaller | None]
"""Returns whom a bearer token (RFC 6750) from an address speaks for; None: nobody. Called in a thread."""


def anonymous(address: str) -> WebCaller:
    """Return the caller where nobody signs in: it sees pseudonyms and writes nothing."""
    return WebCaller(ANONYMOUS, Role.VIEWER, Disclosure.PSEUDONYMOUS, _LOOKING, address)


def caller_of(user: User, address: str, csrf: str) -> WebCaller:
    """Return the caller that a signed-in user is. Viewers see pseudonyms, whatever else they were granted."""
    writes = user.role is not Role.VIEWER
    disclosure = Disclosure.IDENTIFIED if writes and user.identified else Disclosure.PSEUDONYMOUS
    scopes = _LOOKING | ({Scope.WRITE} if writes else set()) | ({Scope.ADMIN} if user.role is Role.ADMIN else set())
    return WebCaller(user.name, user.role, disclosure, scopes, address, csrf, user.way.value)


def caller(request: Request) -> WebCaller:
    """Return the caller of a request."""
    found = request.scope["state"]["caller"]
    assert isinstance(found, WebCaller)
    return found


CallerOf = Annotated[WebCaller, Depends(caller)]
"""A route's parameter of this type is the caller."""


def writer(found: CallerOf) -> WebCaller:
    """Return the caller, refused with 403 unless it may write: a dependency of routes."""
    if not found.may_write:
        raise HTTPException(403, "This needs the role reader or admin; ask an administrator.")
    return found


def admin(found: CallerOf) -> WebCaller:
    """Return the caller, refused with 403 unless it is an administrator: a dependency of routes."""
    if not found.is_admin:
        raise HTTPException(403, "This needs the role admin; ask an administrator.")
    return found


def needs(*scopes: Scope) -> Callable[[Request], Coroutine[Any, Any, None]]:
    """Return a dependency of routes that refuses with 403 a caller who lacks one of these scopes."""

    async def check(request: Request) -> None:  # of these FastAPI calls only plain functions in a thread
        missing = [scope for scope in scopes if scope not in caller(request).scopes]
        if missing:
            raise HTTPException(403, f"This needs a token with the scope {missing[0]}; see `regionmir tokens add`.")

    return check


WriterOf = Annotated[WebCaller, Depends(writer)]
"""The caller, refused with 403 unless it may write."""
AdminOf = Annotated[WebCaller, Depends(admin)]
"""The caller, refused with 403 unless it is an administrator."""
