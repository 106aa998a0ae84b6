"""What the web process is made of: one `Site`, made once and asked for by every route."""

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from db import generations
from db.engine import Database
from regionmir.archive.archive import Archive
from regionmir.core.errors import BrokerUnavailable
from regionmir.core.settings import Settings
from regionmir.query.limits import FailedAnchors
from regionmir.queue import CeleryQueue
from regionmir.storage.uploads import Uploads
from regionmir.web.pictures import Pictures
from regionmir.web.rate import RateLimit
from regionmir.web.signin.service import SignIn

if TYPE_CHECKING:
    from db.engine import Session


@dataclass(frozen=True, slots=True)
class Site:
    """The parts that routes use. `queue` is None where no broker is set: workers then look for themselves."""

    settings: Settings
    names: frozenset[str]
    """Names by which browsers may ask."""
    database: Database
    pictures: Pictures
    queue: CeleryQueue | None
    archive: Archive
    """What is behind DICOMweb; unlike `database` its own may write."""
    uploads: Uploads
    rate: RateLimit
    sign_in: SignIn

    @property
    def writable(self) -> Database:
        """For what the API writes down: kept answers, boxes to embed, the trail of queries."""
        return self.archive.database

    @property
    def guesses(self) -> FailedAnchors:
        """Whoever guesses anchors too often has to wait, whichever way it asks."""
        return self.archive.failed_anchors

    def wake_search(self) -> None:
        """Wake whoever embeds boxes and uploaded films; they look for themselves where the broker is away."""
        if self.queue is not None:
            with suppress(BrokerUnavailable):
                self.queue.wake_search()

    def close(self) -> None:
        """Close all connections."""
        self.database.close()
        self.archive.database.close()
        self.sign_in.close()
        self.rate.close()
        if self.queue is not None:
            self.queue.close()

    def active_model_pk(self, session: "Session") -> int | None:
        """Return the key of the model whose regions are shown, None before the first is registered."""
        model = generations.active(session)
        return None if model is None else model.pk


def _site(request: Request) -> Site:
    site = request.app.state.site
    assert isinstance(site, Site)
    return site


SiteOf = Annotated[Site, Depends(_site)]
"""A route's parameter of this type is the process's site."""
