"""Who looks at a page, and what they may do there. Signing in replaces `Anonymous`, and nothing else."""

from dataclasses import dataclass
from typing import Annotated, Final, Protocol

from fastapi import Depends, HTTPException, Request

from regionmir.core.identifiers import parse_ae_title
from regionmir.core.records import Caller, Disclosure, Rights

WEB_AE: Final = parse_ae_title("RGN_WEB")
"""Who asks, where a page does."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Whoever asks for a page. `name` is empty where nobody has signed in."""

    caller: Caller
    name: str = ""
    may_write: bool = False
    """May say what is relevant and send results to a PACS."""
    is_admin: bool = False

    @property
    def is_identified(self) -> bool:
        """True if patients' identities may be shown."""
        return self.caller.disclosure is Disclosure.IDENTIFIED


class Visitors(Protocol):
    """Says who a request comes from, and whether a form is one that we gave them."""

    def visitor(self, request: Request) -> Visitor: ...
    def csrf_token(self, request: Request) -> str: ...
    def is_own_form(self, request: Request, token: str) -> bool: ...


class Anonymous:
    """Nobody signs in: everybody sees pseudonyms and changes nothing."""

    def visitor(self, request: Request) -> Visitor:
        address = request.client.host if request.client else ""
        return Visitor(Caller(WEB_AE, address, Rights(find=True), Disclosure.PSEUDONYMOUS, registered=False))

    def csrf_token(self, request: Request) -> str:
        return ""

    def is_own_form(self, request: Request, token: str) -> bool:
        return True  # `Guard` has seen that it comes from a page of ours, and whoever is anonymous may change nothing


def visitors_of(request: Request) -> Visitors:
    """Return how this process signs people in: the one place where pages ask for it."""
    found: Visitors = request.app.state.site.visitors
    return found


def _visitor(request: Request) -> Visitor:
    return visitors_of(request).visitor(request)


def only_admins(request: Request) -> None:
    """Refuse anybody but an administrator: a dependency of routes."""
    if not _visitor(request).is_admin:
        raise HTTPException(403, "These pages are for administrators: sign in as one, or use the command `regionmir`.")


VisitorOf = Annotated[Visitor, Depends(_visitor)]
"""A route's parameter of this type is whoever asks."""
