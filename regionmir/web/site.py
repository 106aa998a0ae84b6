"""What the web process is made of: one `Site`, made once and asked for by every route."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import structlog
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

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Site:
    """The parts that routes use. `queue` is None where no broker is set: workers then look for themselves."""

    settings: Settings
    names: frozenset[str]
    """Names by which browsers may ask."""
    database: Database
    """Refuses whatever writes."""
    pictures: Pictures
    queue: CeleryQueue | None
    archive: Archive
    """What is behind DICOMweb; unlike `database` its own may write."""
    uploads: Uploads
    rate: RateLimit
    sign_in: SignIn

    @property
    def writable(self) -> Database:
        """For what is written down: kept answers, boxes and maps to make, opinions, the trail of queries."""
        return self.archive.database

    @property
    def guesses(self) -> FailedAnchors:
        """Whoever guesses anchors too often has to wait, whichever way it asks."""
        return self.archive.failed_anchors

    def close(self) -> None:
        """Close all connections."""
        self.database.close()
        self.archive.database.close()
        self.archive.store.close()
        if self.archive.replica is not None:
            self.archive.replica.close()
        self.sign_in.close()
        self.rate.close()
        if self.queue is not None:
            self.queue.close()

    def active_model_pk(self, session: "Session") -> int | None:
        """Return the key of the model whose regions are shown, None before the first is registered."""
        model = generations.active(session)
        return None if model is None else model.pk

    def wake_search(self) -> None:
        """Wake an index worker for a drawn box; without a broker it looks by itself after a while."""
        try:
            if self.queue is not None:
                self.queue.wake_search()
        except BrokerUnavailable as error:
            log.warning("worker not woken", why=str(error))

    def wake_explain(self) -> None:
        """Wake an index worker for a pair's similarity maps, as `wake_search` does."""
        try:
            if self.queue is not None:
                self.queue.wake_explain()
        except BrokerUnavailable as error:
            log.warning("worker not woken", why=str(error))


async def _site(request: Request) -> Site:  # of these FastAPI calls only plain functions in a thread
    site = request.app.state.site
    assert isinstance(site, Site)
    return site


SiteOf = Annotated[Site, Depends(_site)]
"""A route's parameter of this type is the process's site."""
