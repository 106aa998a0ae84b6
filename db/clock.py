"""Times that the database compares with its own clock, also where that was moved."""

import datetime as dt

from sqlalchemy import ColumnElement, func, or_
from sqlalchemy.orm import InstrumentedAttribute

_SLACK = 2.0


def expired_lease(lease_until: InstrumentedAttribute[dt.datetime | None], lease_s: float | None) -> ColumnElement[bool]:
    """Return the condition that a lease has ended, or (with `lease_s`, how long leases last) ends later than any can.

    The latter is one that was taken before the clock was moved back: it would hold its row until the clock is there.
    """
    over = lease_until < func.now()
    return over if lease_s is None else or_(over, later_than_any(lease_until, _SLACK * lease_s))


def later_than_any(
    column: InstrumentedAttribute[dt.datetime] | InstrumentedAttribute[dt.datetime | None], longest_s: float
) -> ColumnElement[bool]:
    """Return the condition that a time is further ahead than `longest_s` seconds."""
    return column > func.now() + dt.timedelta(seconds=longest_s)
