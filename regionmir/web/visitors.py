"""Who looks at a page, and what they may do there: the door's caller, as pages and queries need it."""

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Request

from regionmir.core.identifiers import parse_ae_title
from regionmir.core.records import Caller, Disclosure, Rights
from regionmir.web.signin.caller import caller

WEB_AE: Final = parse_ae_title("RGN_WEB")
"""Who asks, where a page does."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Whoever asks for a page. `name` is empty where nobody has signed in."""

    caller: Caller
    name: str
    may_write: bool
    """May say what is relevant and send results to a PACS."""
    is_admin: bool
    csrf: str
    """What forms and scripts must send along; the door has checked it before a route is called."""

    @property
    def is_identified(self) -> bool:
        """True if patients' identities may be shown."""
        return self.caller.disclosure is Disclosure.IDENTIFIED


def visitor_of(request: Request) -> Visitor:
    """Return who asks, as the door has let them in."""
    found = caller(request)
    name = found.name if found.way else ""
    asker = Caller(WEB_AE, found.address, Rights(find=True), found.disclosure, registered=False, user=name)
    return Visitor(asker, name, found.may_write, found.is_admin, found.csrf)


async def _visitor(request: Request) -> Visitor:
    return visitor_of(request)


VisitorOf = Annotated[Visitor, Depends(_visitor)]
"""A route's parameter of this type is whoever asks."""
