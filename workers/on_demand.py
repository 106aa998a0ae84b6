"""What somebody waits for, before and between the batches of the indexer: one after the other until nothing waits."""

from collections.abc import Callable
from typing import Protocol, TypeVar

import structlog

from db.engine import Database, Session
from regionmir.core.errors import BrokenImage, InvalidBox, Transient, UnsupportedImage, origin


class Waiting(Protocol):
    """A row of work that was claimed (`db.on_demand`)."""

    @property
    def pk(self) -> int: ...


W = TypeVar("W", bound=Waiting)
A = TypeVar("A")

log = structlog.get_logger(__name__)


def answer_waiting(
    database: Database,
    claim: Callable[[Session], W | None],
    answer: Callable[[W], A],
    finish: Callable[[Session, int, A | None, str], None],
    fault: str,
) -> int:
    """Answer what `claim` gives until it gives nothing, and return how much that was. Raises `Transient`.

    Where `answer` raises, `finish` is given no answer and the reason: for an error of our own, `fault` and its kind.
    """
    done = 0
    while True:
        with database.session() as session:
            waiting = claim(session)
        if waiting is None:
            return done
        found, reason = _attempt(answer, waiting, fault)
        with database.session() as session:
            finish(session, waiting.pk, found, reason)
        done += 1


def _attempt(answer: Callable[[W], A], waiting: W, fault: str) -> tuple[A | None, str]:
    """Return the answer, or None and the reason why there is none."""
    try:
        return answer(waiting), ""
    except InvalidBox:
        return None, "box outside the image"
    except (UnsupportedImage, BrokenImage) as error:
        return None, error.reason
    except Transient:
        raise
    except Exception as error:  # one film's fault is no reason to leave others waiting
        log.error(fault, error=type(error).__name__, at=origin(error))
        return None, f"{fault}: {type(error).__name__}"
