"""A line for each query that was asked: for operators and statistics, without identities of patients."""

import datetime as dt
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from db.filing import clean
from db.tables import QueryLogRow

_RECORD = insert(QueryLogRow.__table__).inline()  # type: ignore[arg-type]


def record(
    session: Session,
    *,
    caller_ae: str,
    address: str,
    kind: Literal["similar", "find"],
    outcome: str,
    hits: int,
    duration_ms: float,
    anatomy_pk: int | None = None,
    anchor_instance_pk: int | None = None,
    result_set_code: str | None = None,
) -> None:
    """Record a query; `outcome` is `ok` or the code of the refusal."""
    values = {
        "caller_ae": clean(caller_ae),
        "address": clean(address),
        "kind": kind,
        "outcome": outcome,
        "hits": hits,
        "duration_ms": duration_ms,
        "anatomy_pk": anatomy_pk,
        "anchor_instance_pk": anchor_instance_pk,
        "result_set_code": result_set_code,
    }
    session.execute(_RECORD, values)


@dataclass(frozen=True, slots=True)
class RecentQueries:
    """How many queries of one kind and outcome were asked lately, and how long they took."""

    kind: str
    outcome: str
    count: int
    median_ms: float
    p95_ms: float


def recent(session: Session, within_s: float) -> list[RecentQueries]:
    """Return the figures of the queries of the last `within_s` seconds."""
    row = QueryLogRow
    query = (
        select(
            row.kind,
            row.outcome,
            func.count(),
            func.percentile_cont(0.5).within_group(row.duration_ms),
            func.percentile_cont(0.95).within_group(row.duration_ms),
        )
        .where(row.asked_at > func.now() - dt.timedelta(seconds=within_s))
        .group_by(row.kind, row.outcome)
        .order_by(row.kind, row.outcome)
    )
    return [RecentQueries(*line) for line in session.execute(query)]
