"""The brakes: on many requests, which every one with a caller passes, and on guessing names and codes."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from regionmir.core.errors import QueryRefused
from regionmir.core.records import Caller as Asker
from regionmir.query import trail
from regionmir.web.api.errors import Refused
from regionmir.web.callers import ANONYMOUS, CallerOf
from regionmir.web.site import Site, SiteOf


def limited(site: SiteOf, who: CallerOf) -> None:
    """Return if the caller has not sent too many requests. Raises `Refused` with when to try again."""
    check_rate(site, who.name, who.address)


def check_rate(site: Site, name: str, address: str) -> None:
    """Return if who has this name, anonymous at this address, has not sent too many requests. Raises `Refused`."""
    wait_s = site.rate.wait_s(f"{name} {address}" if name == ANONYMOUS else name)
    if wait_s > 0:
        most = site.settings.api_requests_per_minute
        raise Refused(429, "too-many-requests", f"At most {most} requests a minute; wait.", math.ceil(wait_s))


@contextmanager
def braked(site: Site, asker: Asker, guesser: str) -> Iterator[None]:
    """Refuse who has guessed too often; count guesses by `guesser`, and write down every refusal."""
    try:
        site.guesses.check(guesser)
        yield
    except QueryRefused as refusal:
        site.guesses.note(guesser, refusal)
        with site.writable.session() as session:
            trail.record_refusal(session, refusal, asker)
        raise
