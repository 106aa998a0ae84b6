"""The brake that every request with a caller passes."""

import math

from regionmir.web.api.errors import Refused
from regionmir.web.callers import ANONYMOUS, CallerOf
from regionmir.web.site import SiteOf


def limited(site: SiteOf, who: CallerOf) -> None:
    """Return if the caller has not sent too many requests. Raises `Refused` with when to try again."""
    wait_s = site.rate.wait_s(f"{who.name} {who.address}" if who.name == ANONYMOUS else who.name)
    if wait_s > 0:
        most = site.settings.api_requests_per_minute
        raise Refused(429, "too-many-requests", f"At most {most} requests a minute; wait.", math.ceil(wait_s))
