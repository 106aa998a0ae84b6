"""What the database says of the whole site at one moment: for Prometheus, `regionmir top` and autoscalers."""

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import ColumnElement, extract, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from db import deliveries, instances, query_log
from db.query_log import RecentQueries
from db.tables import DeliveryRow, InstanceRow
from regionmir.core.records import InstanceState

WINDOW_S = 300.0
"""Figures of what happened lately are about this last time."""


@dataclass(frozen=True, slots=True)
class Lately:
    """What was indexed in the last `WINDOW_S` seconds: how many, and how long from arrival to indexed, in seconds."""

    count: int
    median_s: float
    p95_s: float


@dataclass(frozen=True, slots=True)
class SiteFigures:
    """Counts by state, the age of what waits longest (seconds, 0: nothing waits), and what happened lately."""

    instances: dict[str, int]
    deliveries: dict[str, int]
    oldest_instance_s: float
    oldest_delivery_s: float
    """Since the next try was due: what is held back on purpose is not late."""
    indexed: Lately
    received: int
    """Instances that came in the last `WINDOW_S` seconds."""
    queries: tuple[RecentQueries, ...]


def site_figures(session: Session) -> SiteFigures:
    """Return the figures now. Each statement is answered by an index, or by one pass over what happened lately."""
    row, outbox = InstanceRow, DeliveryRow
    return SiteFigures(
        instances=instances.counts_by_state(session),
        deliveries=deliveries.counts_by_state(session),
        oldest_instance_s=_age(session, row.received_at, row.state == InstanceState.RECEIVED),
        oldest_delivery_s=_age(session, outbox.next_try_at, outbox.state == deliveries.DeliveryState.WAITING),
        indexed=_indexed(session),
        received=session.scalar(select(func.count()).where(row.received_at > _since())) or 0,
        queries=tuple(query_log.recent(session, WINDOW_S)),
    )


def queue_age_s(session: Session) -> float:
    """Return how long the oldest instance has waited to be indexed, in seconds; 0 where none waits."""
    return _age(session, InstanceRow.received_at, InstanceRow.state == InstanceState.RECEIVED)


def _age(session: Session, since: InstrumentedAttribute[dt.datetime], condition: ColumnElement[bool]) -> float:
    age = extract("epoch", func.now() - func.min(since))
    return max(0.0, float(session.scalar(select(age).where(condition)) or 0.0))


def _indexed(session: Session) -> Lately:
    row = InstanceRow
    took = extract("epoch", row.indexed_at - row.received_at)
    quantiles = (func.percentile_cont(share).within_group(took) for share in (0.5, 0.95))
    query = select(func.count(), *quantiles)
    lately = query.where(row.state == InstanceState.INDEXED, row.indexed_at > _since())
    count, median, p95 = session.execute(lately).one()
    return Lately(count, float(median or 0.0), float(p95 or 0.0))


def _since() -> "ColumnElement[dt.datetime]":
    return func.now() - dt.timedelta(seconds=WINDOW_S)
