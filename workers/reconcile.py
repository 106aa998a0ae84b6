"""Puts right what a dead worker or a lost broker left behind."""

from dataclasses import dataclass

import structlog

from db import deliveries, instances, wanted_answers
from db.engine import Database
from regionmir.core.errors import BrokerUnavailable
from regionmir.queue import IndexQueue

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Reconciled:
    """`requeued`: instances whose lease had ended. `waiting`: instances that wait now. `woken`: the broker took it."""

    requeued: int
    waiting: int
    woken: bool


def reconcile(database: Database, queue: IndexQueue, *, lease_s: float, delivery_lease_s: float) -> Reconciled:
    """Give expired leases back, wake the index workers if anything waits, and return what was found.

    Annotations that came before their image are read again.

    `lease_s`, `delivery_lease_s`: how long the leases of index workers and of senders last.

    Safe at any time and twice. Raises `DatabaseUnavailable`; a broker that is away is only logged.
    """
    with database.session() as session:
        requeued = instances.requeue_expired(session, lease_s)
        unsent = deliveries.requeue_expired(session, delivery_lease_s)
        wanted_answers.read_again(session)
        waiting = instances.waiting(session)
    woken = waiting > 0 and _wake(queue)
    if requeued or unsent:
        log.warning("expired leases given back", instances=requeued, deliveries=unsent)
    return Reconciled(requeued, waiting, woken)


def _wake(queue: IndexQueue) -> bool:
    try:
        queue.wake()
    except BrokerUnavailable as error:
        log.warning("broker away: index workers look for themselves", error=str(error))
        return False
    return True
