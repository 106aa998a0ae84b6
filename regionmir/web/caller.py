"""Who asks, as the archive and the search know callers: whoever came in by the door of sign-in."""

from typing import Annotated

from fastapi import Depends

from regionmir.core.identifiers import parse_ae_title
from regionmir.core.records import Caller, Rights
from regionmir.web.signin.caller import CallerOf as WebCallerOf
from regionmir.web.signin.caller import Scope
from regionmir.web.site import SiteOf

WEB_AE = parse_ae_title("RGN_WEB")
"""Who asks, where a browser or a DICOMweb client does."""


def _caller(web: WebCallerOf, site: SiteOf) -> Caller:
    """Return the caller of a request, who gets de-identified copies unless it sees originals.

    It may do what its scopes say; without sign-in it may store where the setting `anonymous_store` says so.
    """
    signed_in, reads = bool(web.way), Scope.READ in web.scopes
    store = web.may_write if signed_in else site.settings.anonymous_store
    return Caller(
        ae_title=WEB_AE,
        address=web.address,
        rights=Rights(find=reads, retrieve=reads, store=store, ask=Scope.QUERY in web.scopes),
        disclosure=web.disclosure,
        registered=signed_in,
        accepts_pseudonyms=True,
        user=web.name if signed_in else "",
    )


CallerOf = Annotated[Caller, Depends(_caller)]
"""A route's parameter of this type is who asks."""
