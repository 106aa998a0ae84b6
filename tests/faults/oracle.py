"""Keeps what was acknowledged, and says afterwards what of it is not as it was promised."""

import threading
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg

from regionmir.core.settings import Settings
from regionmir.storage import FileStore
from tests.faults.films import Film
from tests.faults.sending import SENDER

FINAL = ("indexed", "unsupported", "failed")

_TWICE = """
SELECT instance_pk, model_pk, anatomy_pk FROM region GROUP BY 1, 2, 3 HAVING count(*) > 1
UNION ALL
SELECT r.instance_pk, r.model_pk, r.anatomy_pk FROM region r
FULL JOIN embedding e ON e.region_pk = r.pk AND e.model_pk = r.model_pk WHERE r.pk IS NULL OR e.region_pk IS NULL
"""
_SAME_RESULT_TWICE = """
SELECT instance_pk, destination, kind FROM delivery GROUP BY 1, 2, 3, result_set_codes HAVING count(*) > 1
"""
_WITHOUT_RESULT = """
SELECT sop_instance_uid FROM instance i WHERE state = 'indexed' AND source_ae = %s
AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.instance_pk = i.pk AND d.destination = %s)
"""
_DELIVERIES = "SELECT sop_instance_uid, state, reason FROM delivery WHERE destination = %s"


@dataclass(frozen=True)
class Judgement:
    """What the oracle found. Lists name SOP Instance UIDs with what is wrong; all empty: nothing is.

    `lost`: acknowledged, and not on disk with its hash, or not in the database. `unfinished`: in no final state.
    `otherwise`: another final state than `indexed`. `duplicates`: indexed or delivered more than once, as other rows or
    other bytes. `undelivered`: neither stored at the destination nor a dead letter with a reason.
    """

    acknowledged: int
    lost: list[str]
    unfinished: list[str]
    otherwise: list[str]
    duplicates: list[str]
    undelivered: list[str]
    delivered: int
    dead_letters: int
    sent_again: int
    """C-STOREs of what the destination had already, byte for byte: its answer had not reached us."""
    by_way: dict[str, int]

    @property
    def faultless(self) -> bool:
        return not (self.lost or self.unfinished or self.otherwise or self.duplicates or self.undelivered)


@dataclass
class Oracle:
    """What was acknowledged, by SOP Instance UID. Safe to use from several threads."""

    films: dict[str, Film] = field(default_factory=dict)
    ways: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def acknowledge(self, film: Film, way: str) -> None:
        with self._lock:
            self.films[film.sop_instance_uid] = film
            self.ways[way] += 1

    def count(self) -> int:
        with self._lock:
            return len(self.films)

    def judge(self, settings: Settings, destination: str, stored: Iterable[tuple[str, str]]) -> Judgement:
        """Compare with what is there now; `stored`: SOP Instance UID and SHA-256 of what the destination kept."""
        with psycopg.connect(settings.require_database_url()) as connection:
            rows = _instances(connection)
            twice = [f"region {line}" for line in connection.execute(_TWICE)]
            twice += [f"delivery {line}" for line in connection.execute(_SAME_RESULT_TWICE)]
            without = [uid for (uid,) in connection.execute(_WITHOUT_RESULT, [SENDER, destination])]
            outbox = {uid: (state, reason) for uid, state, reason in connection.execute(_DELIVERIES, [destination])}
        lost = list(self._lost(rows, FileStore(settings.data_dir)))
        states = {uid: rows[uid][0] for uid in self.films if uid in rows}
        arrived: dict[str, list[str]] = defaultdict(list)
        for uid, digest in stored:
            arrived[uid].append(digest)
        twice += [f"{uid}: stored with other bytes" for uid, digests in arrived.items() if len(set(digests)) > 1]
        twice += [f"{uid}: arrived, and is in no outbox" for uid in arrived if uid not in outbox]
        return Judgement(
            acknowledged=len(self.films),
            lost=lost,
            unfinished=[f"{uid}: {state}" for uid, state in states.items() if state not in FINAL],
            otherwise=[f"{uid}: {rows[uid][:2]}" for uid, state in states.items() if state in FINAL[1:]],
            duplicates=twice,
            undelivered=[*_undelivered(outbox, arrived), *(f"{uid}: indexed, and no result of it" for uid in without)],
            delivered=len(arrived),
            dead_letters=sum(state == "dead" for state, _ in outbox.values()),
            sent_again=sum(len(digests) - 1 for digests in arrived.values()),
            by_way=dict(self.ways),
        )

    def _lost(self, rows: dict[str, tuple[str, str, str, str]], store: FileStore) -> Iterator[str]:
        for uid, film in self.films.items():
            if uid not in rows:
                yield f"{uid}: not in the database"
                continue
            _, _, digest, key = rows[uid]
            if digest != film.sha256:
                yield f"{uid}: the database has another hash"
            try:
                if store.dataset_sha256(key) != film.sha256:
                    yield f"{uid}: other bytes on disk"
            except (OSError, ValueError) as error:
                yield f"{uid}: not on disk ({type(error).__name__})"


def _instances(connection: "psycopg.Connection[Any]") -> dict[str, tuple[str, str, str, str]]:
    """Return state, reason, hash and storage key of every instance."""
    found = connection.execute("SELECT sop_instance_uid, state, reason, sha256, storage_key FROM instance")
    return {uid: tuple(rest) for uid, *rest in found}  # type: ignore[misc]


def _undelivered(outbox: dict[str, tuple[str, str]], arrived: Collection[str]) -> Iterator[str]:
    for uid, (state, reason) in outbox.items():
        if state == "delivered" and uid not in arrived:
            yield f"{uid}: said to be delivered, and never arrived"
        elif state == "dead" and not reason:
            yield f"{uid}: a dead letter without a reason"
        elif state not in ("delivered", "dead"):
            yield f"{uid}: {state} ({reason})"
