"""Two nodes behind a balancer, three workers, database and Redis, each a host of its own; hosts are killed while films
come in. `make cluster-test`: it needs root, and haproxy (the file in deploy/ is what balances).

Objects are on a folder that all hosts share, as by NFS. The index workers have a model without a network.
"""

import os
import random
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from db import peers
from db.engine import Database
from db.migrate import upgrade
from db.peers import Peer
from regionmir.admin.postgres import LocalPostgres
from regionmir.core.identifiers import AETitle
from regionmir.scu.peer import PeerAddress
from regionmir.storage import FileStore
from tests.conftest import absent
from tests.support.acknowledged import duplicates, send_all, send_at_once
from tests.support.chance import seed_of_run
from tests.support.films import write_films
from tests.support.hosts import NETWORK, Host, Network, wait_for_port, why_not
from tests.support.redis import redis_binary

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(os.environ.get("REGIONMIR_CLUSTER") != "1", reason="make cluster-test"),
]

ROOT = Path(__file__).resolve().parents[2]
BALANCER = ROOT / "deploy" / "haproxy" / "haproxy.cfg"
FILMS, SENDERS = int(os.environ.get("REGIONMIR_CLUSTER_FILMS", "240")), 4
PORT = 11112


class NetworkPostgres(LocalPostgres):
    """A database that takes connections from the hosts of the test."""

    def command(self) -> list[str]:
        return ["ip", "netns", "exec", "rgn-database", *super().command(), "-c", "listen_addresses=*"]

    def initialise(self) -> None:
        super().initialise()
        with (self.data_dir / "pg_hba.conf").open("a") as file:
            file.write(f"host all all {NETWORK}.0/24 trust\n")


@dataclass
class Cluster:
    """All hosts. Each knows how it is started again."""

    folder: Path
    network: Network
    database_host: Host = field(init=False)
    redis: Host = field(init=False)
    balancer: Host = field(init=False)
    nodes: list[Host] = field(init=False)
    workers: list[Host] = field(init=False)

    def __post_init__(self) -> None:
        made = self.network.host
        self.database_host, self.redis, self.balancer = made("database", 10), made("redis", 11), made("balancer", 2)
        self.nodes = [made(f"node{n}", 20 + n) for n in (1, 2)]
        self.workers = [made(f"worker{n}", 30 + n) for n in (1, 2, 3)]
        self.postgres = NetworkPostgres(self.folder / "postgres", self.folder / "socket")

    @property
    def database_url(self) -> str:
        return f"postgresql://regionmir@{self.database_host.address}/regionmir"

    def start(self) -> None:
        self.start_database()
        database = Database(self.database_url, application_name="test")
        upgrade(database)
        with database.session() as session:
            peers.upsert(session, Peer(AETitle("SENDER"), can_store=True, source_address=f"{NETWORK}.0/24"))
        database.close()
        self.start_redis()
        for worker in self.workers:
            self.start_worker(worker)
        for node in self.nodes:
            self.start_node(node)
        for node in self.nodes:
            wait_for_port(node.address, PORT)
        self.start_balancer()
        wait_for_port(self.balancer.address, PORT)

    def start_database(self) -> None:
        self.postgres.start()

    def kill_database(self) -> None:
        self.database_host.kill()
        self.postgres.stop()

    def start_redis(self) -> None:
        binary = redis_binary()
        assert binary is not None
        self.redis.run(binary, "--bind", self.redis.address, "--protected-mode", "no", "--save", "")

    def start_worker(self, host: Host) -> None:
        host.run(sys.executable, "-m", "tests.support.fake_worker", "0.05", "2")
        if host is self.workers[0]:
            host.run(sys.executable, "-m", "workers", "light")

    def start_node(self, host: Host) -> None:
        host.run(sys.executable, "-m", "dicom_node", REGIONMIR_DICOM_HOST=host.address)

    def start_balancer(self) -> None:
        text = BALANCER.read_text(encoding="utf-8")
        for number, node in enumerate(self.nodes, start=1):
            text = text.replace(f"server node{number} 10.0.0.{10 + number}", f"server node{number} {node.address}")
        assert text.count(NETWORK) == 2
        written = self.folder / "haproxy.cfg"
        written.write_text(text, encoding="utf-8")
        self.balancer.run("haproxy", "-db", "-f", str(written))

    def states(self) -> Counter[str]:
        """Return how many instances are in which state; nothing while the database is away."""
        with suppress(psycopg.Error), psycopg.connect(self.database_url, connect_timeout=3) as connection:
            return Counter(dict(connection.execute("SELECT state, count(*) FROM instance GROUP BY 1").fetchall()))
        return Counter()

    def connected(self) -> set[str]:
        """Return the addresses that have a connection to the database."""
        query = "SELECT DISTINCT host(client_addr) FROM pg_stat_activity WHERE client_addr IS NOT NULL"
        with psycopg.connect(self.database_url) as connection:
            return {address for (address,) in connection.execute(query).fetchall()}

    def kill_and_start_again(self, victim: str, away_s: float) -> None:
        """Kill a host, leave it away for a while, and bring it back."""
        host = self.network.hosts[f"rgn-{victim}"]
        if victim == "database":
            self.kill_database()
        else:
            host.kill()
        time.sleep(away_s)
        host.power_on()
        if victim == "database":
            self.start_database()
        elif victim == "redis":
            self.start_redis()
        elif host in self.nodes:
            self.start_node(host)
        else:
            self.start_worker(host)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if why := why_not():
        absent(why)
    if shutil.which("haproxy") is None:
        absent("haproxy (apt-get install haproxy)")
    folder = tmp_path_factory.mktemp("cluster")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REGIONMIR_")}
    settings = {
        "DATA_DIR": str(folder / "shared"),
        "DATABASE_URL": f"postgresql://regionmir@{NETWORK}.10/regionmir",
        "REDIS_URL": f"redis://{NETWORK}.11:6379/0",
        "LEASE_S": "10",
        "RECONCILE_S": "2",
        "BATCH_SIZE": "4",
    }
    environment = {**kept, "PYTHONPATH": str(ROOT), **{f"REGIONMIR_{name}": value for name, value in settings.items()}}
    with Network(folder, environment) as network:
        found = Cluster(folder, network)
        try:
            found.start()
            yield found
        finally:
            found.kill_database()


class Sending:
    """Sends on threads of its own: what is killed is started again by the main thread, whose death ends it too.

    It pauses at so many acknowledged films as are allowed: else all would be in before the last host is killed.
    """

    def __init__(self, peer: PeerAddress, files: list[Path], allowed: int) -> None:
        self.count = 0
        self._allowed = allowed
        self._more = threading.Condition()
        self._acknowledged: set[str] = set()
        batches = [files[n::SENDERS] for n in range(SENDERS)]
        self._thread = threading.Thread(target=self._run, args=(peer, batches))

    def start(self) -> None:
        self._thread.start()

    def wait_for(self, count: int, deadline_s: float = 300.0) -> None:
        """Return once so many are acknowledged."""
        with self._more:
            assert self._more.wait_for(lambda: self.count >= count, deadline_s), self.count

    def allow(self, count: int) -> None:
        """Go on until so many are acknowledged."""
        with self._more:
            self._allowed = count
            self._more.notify_all()

    def result(self) -> set[str]:
        """Return the UIDs of all that were acknowledged, once nothing is sent any more."""
        self._thread.join()
        return self._acknowledged

    def _run(self, peer: PeerAddress, batches: list[list[Path]]) -> None:
        self._acknowledged = send_at_once(peer, batches, self._progress, deadline_s=600)

    def _progress(self, count: int) -> None:
        with self._more:
            self.count = max(self.count, count)
            self._more.notify_all()
            self._more.wait_for(lambda: count < self._allowed, 300)


VICTIMS = ("node1", "worker2", "redis", "worker1", "database", "node2")
"""In this order, each while films come in; `worker1` is also the light worker's host."""


def test_no_film_that_was_acknowledged_is_lost_or_indexed_twice_whichever_host_dies(
    cluster: Cluster, tmp_path: Path
) -> None:
    chance = random.Random(seed_of_run(long=True))
    files = write_films(tmp_path, FILMS, rows=64, columns=64)
    thresholds = sorted(chance.sample(range(5, FILMS - 40), len(VICTIMS)))
    balancer = PeerAddress(AETitle("REGIONMIR"), cluster.balancer.address, PORT)
    sending = Sending(balancer, files, thresholds[0])
    began = time.monotonic()
    sending.start()
    for victim, threshold, until in zip(VICTIMS, thresholds, [*thresholds[1:], FILMS + 1], strict=True):
        sending.wait_for(threshold)
        assert sending.count < FILMS
        print(f"{victim} is killed after {sending.count} of {FILMS}")
        sending.allow(until)
        cluster.kill_and_start_again(victim, away_s=chance.uniform(0.5, 4))
    acknowledged = sending.result()
    assert len(acknowledged) == FILMS
    _wait_indexed(cluster, acknowledged)
    print(f"{FILMS} films, {len(VICTIMS)} hosts killed: {time.monotonic() - began:.0f} s")
    assert duplicates(cluster.database_url) == []
    _assert_objects_are_whole(cluster)


def _wait_indexed(cluster: Cluster, acknowledged: set[str], deadline_s: float = 300.0) -> None:
    end = time.monotonic() + deadline_s
    while cluster.states()["indexed"] < len(acknowledged):
        assert time.monotonic() < end, cluster.states()
        time.sleep(0.5)
    with psycopg.connect(cluster.database_url) as connection:
        rows = connection.execute("SELECT sop_instance_uid FROM instance WHERE state = 'indexed'").fetchall()
    assert acknowledged == {uid for (uid,) in rows}


def _assert_objects_are_whole(cluster: Cluster) -> None:
    """Every row's object is on the disk with the hash that the row says."""
    store = FileStore(cluster.folder / "shared")
    with psycopg.connect(cluster.database_url) as connection:
        rows = connection.execute("SELECT storage_key, sha256 FROM instance").fetchall()
    assert [key for key, sha256 in rows if store.dataset_sha256(key) != sha256] == []


def test_every_host_is_at_work_again_afterwards(cluster: Cluster, tmp_path: Path) -> None:
    """Each node takes a film, and each worker host has a connection to the database: nobody was given up for dead."""
    wanted = {host.address for host in cluster.workers}
    for number, node in enumerate(cluster.nodes):
        wait_for_port(node.address, PORT)
        film = write_films(tmp_path, 1, first_seed=FILMS + number, rows=64, columns=64)
        assert len(send_all(PeerAddress(AETitle("REGIONMIR"), node.address, PORT), film)) == 1
    end = time.monotonic() + 300
    while missing := wanted - cluster.connected():
        assert time.monotonic() < end, missing
        time.sleep(0.5)
