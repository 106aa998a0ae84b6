"""Who asks: every route that answers by disclosure takes it from here, and from nowhere else."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request

from regionmir.core.identifiers import parse_ae_title
from regionmir.core.records import Caller, Disclosure, Rights

WEB_AE = parse_ae_title("RGN_WEB")
"""Who asks, where a browser or a DICOMweb client does."""

CallerSource = Callable[[Request], Caller]
"""Returns who makes a request; sign-in puts its own in `app.state.caller_source`."""


def anonymous(request: Request) -> Caller:
    """Return the caller of a request without sign-in: it reads, sees pseudonyms only, and gets de-identified copies.

    It may store only where the setting `anonymous_store` says so.
    """
    store = request.app.state.site.settings.anonymous_store
    return Caller(
        ae_title=WEB_AE,
        address=request.client.host if request.client else "",
        rights=Rights(find=True, retrieve=True, store=store),
        disclosure=Disclosure.PSEUDONYMOUS,
        registered=False,
        accepts_pseudonyms=True,
    )


def _caller(request: Request) -> Caller:
    source: CallerSource = request.app.state.caller_source
    return source(request)


CallerOf = Annotated[Caller, Depends(_caller)]
"""A route's parameter of this type is who asks."""
