"""A read replica of the database, asked where an answer may be some seconds old; never needed."""

import time
from collections.abc import Callable
from typing import TypeVar

import structlog

from db.engine import Database, Session
from regionmir.core.errors import DatabaseUnavailable

PAUSE_S = 5.0
"""A replica that failed is left alone for so long: what asks meanwhile asks the primary at once."""

POOL_SIZE = 5

log = structlog.get_logger(__name__)
_Found = TypeVar("_Found")


class Replica:
    """A hot standby. Safe for many threads."""

    def __init__(self, url: str, *, application_name: str, pool_size: int = POOL_SIZE) -> None:
        self._database = Database(url, application_name=application_name, pool_size=pool_size, read_only=True)
        self._closed_until = 0.0

    def ask(self, question: "Callable[[Session], _Found]") -> "_Found | None":
        """Return what `question` finds there; None where the replica is away, or gave up."""
        if time.monotonic() < self._closed_until:
            return None
        try:
            with self._database.session() as session:
                return question(session)
        except DatabaseUnavailable as error:
            self._closed_until = time.monotonic() + PAUSE_S
            log.warning("replica not used", why=str(error))
            return None

    def close(self) -> None:
        """Close all connections."""
        self._database.close()
