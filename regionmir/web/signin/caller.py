"""Who asks, as routes see it: `CallerOf`, `WriterOf` and `AdminOf` are the parameters to declare."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, HTTPException, Request

from db.users import User
from regionmir.core.records import Disclosure, Role

ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class WebCaller:
    """Who asks over HTTP: resolved once per request by the door, trusted inside."""

    name: str
    """For people and the audit trail; `anonymous` where nobody signs in."""
    role: Role
    disclosure: Disclosure
    may_write: bool
    address: str
    csrf: str = ""
    """What a form must carry as `csrf`, a script as `X-CSRF-Token`; empty where no cookie speaks for the caller."""
    way: str = ""
    """How the caller signed in (`local`, `oidc`, `proxy`, `token`); empty: not at all."""

    @property
    def is_admin(self) -> bool:
        """True if it may see the pages of administrators."""
        return self.role is Role.ADMIN


FindBearer = Callable[[str, str], WebCaller | None]
"""Returns whom a bearer token (RFC 6750) from an address speaks for; None: nobody. Called in a thread."""


def anonymous(address: str) -> WebCaller:
    """Return the caller where nobody signs in: it sees pseudonyms and writes nothing."""
    return WebCaller(ANONYMOUS, Role.VIEWER, Disclosure.PSEUDONYMOUS, False, address)


def caller_of(user: User, address: str, csrf: str) -> WebCaller:
    """Return the caller that a signed-in user is. Viewers see pseudonyms, whatever else they were granted."""
    writes = user.role is not Role.VIEWER
    disclosure = Disclosure.IDENTIFIED if writes and user.identified else Disclosure.PSEUDONYMOUS
    return WebCaller(user.name, user.role, disclosure, writes, address, csrf, user.way.value)


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


WriterOf = Annotated[WebCaller, Depends(writer)]
"""The caller, refused with 403 unless it may write."""
AdminOf = Annotated[WebCaller, Depends(admin)]
"""The caller, refused with 403 unless it is an administrator."""
