"""What the web process is made of: one `Site`, made once and asked for by every route."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from db import generations
from db.engine import Database
from regionmir.core.settings import Settings
from regionmir.queue import CeleryQueue
from regionmir.web.pictures import Pictures
from regionmir.web.signin.service import SignIn

if TYPE_CHECKING:
    from db.engine import Session


@dataclass(frozen=True, slots=True)
class Site:
    """The parts that routes use. `queue` is None where no broker is set: only its depth is shown."""

    settings: Settings
    names: frozenset[str]
    """Names by which browsers may ask."""
    database: Database
    pictures: Pictures
    queue: CeleryQueue | None
    sign_in: SignIn

    def close(self) -> None:
        """Close all connections."""
        self.database.close()
        self.sign_in.close()
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
