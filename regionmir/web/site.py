"""What the web process is made of: one `Site`, made once and asked for by every route."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import structlog
from fastapi import Depends, Request

from db import generations
from db.engine import Database
from regionmir.core.errors import BrokerUnavailable
from regionmir.core.settings import Settings
from regionmir.queue import CeleryQueue
from regionmir.web.pictures import Pictures
from regionmir.web.visitors import Anonymous, Visitors

if TYPE_CHECKING:
    from db.engine import Session

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Site:
    """The parts that routes use. `queue` is None where no broker is set: workers are then not woken, they look."""

    settings: Settings
    names: frozenset[str]
    """Names by which browsers may ask."""
    database: Database
    """Refuses whatever writes."""
    writable: Database
    pictures: Pictures
    queue: CeleryQueue | None
    visitors: Visitors = field(default_factory=Anonymous)

    def close(self) -> None:
        """Close all connections."""
        self.database.close()
        self.writable.close()
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


def _site(request: Request) -> Site:
    site = request.app.state.site
    assert isinstance(site, Site)
    return site


SiteOf = Annotated[Site, Depends(_site)]
"""A route's parameter of this type is the process's site."""
