"""Sending until everything is acknowledged, whatever ends meanwhile, and what must then be true of the database."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from regionmir.core.errors import PeerRefused, PeerUnavailable
from regionmir.scu.peer import PeerAddress, Timeouts
from regionmir.scu.store import Result, store


def send_all(
    peer: PeerAddress,
    files: Sequence[Path],
    progress: Callable[[int], None] = lambda _: None,
    *,
    deadline_s: float = 180.0,
    dimse_s: float = 20.0,
) -> set[str]:
    """Send until every file was acknowledged, over new associations where one breaks; return the UIDs.

    `progress` is told how many are acknowledged, after each. What the deadline finds unsent is missing in the answer.
    """
    acknowledged: set[str] = set()
    waiting = dict.fromkeys(files)
    deadline = time.monotonic() + deadline_s
    while waiting and time.monotonic() < deadline:
        try:
            for outcome in store(peer, "SENDER", list(waiting), timeouts=Timeouts(connect_s=5, dimse_s=dimse_s)):
                if outcome.result is Result.STORED:
                    assert outcome.sop_instance_uid is not None
                    acknowledged.add(outcome.sop_instance_uid)
                    waiting.pop(outcome.path)
                    progress(len(acknowledged))
        except (PeerUnavailable, PeerRefused):
            time.sleep(0.2)
    return acknowledged


def send_at_once(
    peer: PeerAddress, batches: Sequence[Sequence[Path]], progress: Callable[[int], None], *, deadline_s: float
) -> set[str]:
    """Send each batch over an association of its own, all at once; see `send_all`."""
    acknowledged: list[set[str]] = [set() for _ in batches]
    counts = [0] * len(batches)

    def send(number: int) -> None:
        def told(count: int) -> None:
            counts[number] = count
            progress(sum(counts))

        acknowledged[number] = send_all(peer, batches[number], told, deadline_s=deadline_s, dimse_s=40)

    senders = [threading.Thread(target=send, args=(number,)) for number in range(len(batches))]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    return set().union(*acknowledged)


def duplicates(database_url: str) -> list[object]:
    """Return regions that exist twice for one instance, model and anatomy, or lack their embedding."""
    import psycopg

    with psycopg.connect(database_url) as connection:
        twice = connection.execute(
            "select instance_pk, model_pk, anatomy_pk from region group by 1, 2, 3 having count(*) > 1"
        ).fetchall()
        alone = connection.execute(
            "select r.pk from region r full join embedding e on e.region_pk = r.pk and e.model_pk = r.model_pk "
            "where r.pk is null or e.region_pk is null"
        ).fetchall()
    return [*twice, *alone]
