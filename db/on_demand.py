"""Work that somebody waits for: asked for as a row, taken under a lease, answered by the row and a NOTIFY with its key.

The rows have columns `pk`, `model_pk`, `state` (`waiting`, a word for being worked on, one for done, `failed`),
`reason`, `attempts`, `lease_until` and `asked_at`.
"""

import datetime as dt
import time
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, and_, false, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.engine import Database

MAX_ATTEMPTS = 3
_LEASE_S = 30.0
_STEP_S = 0.5  # a notification that got lost costs no more than this

T = TypeVar("T")


def ask(session: Session, row: Any, constraint: str, values: dict[str, Any], *, again: bool = True) -> int:
    """Return the key of the row of `values`, unique by `constraint`: filed now if need be.

    One that failed waits again, but not where `again` is false: whoever asks by itself would never end.
    """
    anew = {"state": "waiting", "reason": "", "attempts": 0, "asked_at": func.now()}
    statement = insert(row).values(**values, state="waiting", reason="")
    failed = row.state == "failed" if again else false()
    statement = statement.on_conflict_do_update(constraint=constraint, set_=anew, where=failed)
    made = session.scalar(statement.returning(row.pk))
    same = (getattr(row, name) == value for name, value in values.items())
    return int(made if made is not None else session.scalars(select(row.pk).where(*same)).one())


def wait(database: Database, channel: str, pk: int, deadline_s: float, look: Callable[[Session], tuple[T, bool]]) -> T:
    """Return what `look` finds once it says that this is final, or after `deadline_s` seconds.

    Raises `DatabaseUnavailable`.
    """
    end = time.monotonic() + deadline_s
    with database.listening(channel) as notified:
        while True:
            with database.session() as session:
                found, is_final = look(session)
            left = end - time.monotonic()
            if is_final or left <= 0:
                return found
            notified(str(pk), min(left, _STEP_S))


def take_oldest(
    session: Session, row: Any, model_pk: int, working: str, joined: list[ColumnElement[bool]], columns: list[Any]
) -> Any:
    """Put the oldest waiting row into state `working` for half a minute and return its `columns`; None: none waits.

    Only rows of this generation: another's vectors are of another model. `joined` are conditions on other tables that
    columns are of. What kills its worker is given up.
    """
    free = or_(row.state == "waiting", and_(row.state == working, row.lease_until < func.now()))
    free = and_(free, row.model_pk == model_pk)
    hopeless = update(row).where(free, row.attempts >= MAX_ATTEMPTS)
    session.execute(hopeless.values(state="failed", reason="crashed the worker", lease_until=None))
    first = select(row.pk).where(free).order_by(row.asked_at).limit(1).with_for_update(skip_locked=True)
    lease = func.now() + dt.timedelta(seconds=_LEASE_S)
    taken = update(row).where(row.pk == first.scalar_subquery(), *joined)
    taken = taken.values(state=working, attempts=row.attempts + 1, lease_until=lease)
    return session.execute(taken.returning(*columns)).first()


def finish(session: Session, row: Any, channel: str, pk: int, state: str, reason: str, **values: Any) -> None:
    """Answer a row and tell who waits for it."""
    done = update(row).where(row.pk == pk).values(state=state, reason=reason[:200], lease_until=None, **values)
    session.execute(done)
    session.execute(text("SELECT pg_notify(:channel, :pk)"), {"channel": channel, "pk": str(pk)})
