"""Everything that a run drives: RegionMIR, its destination PACS, the proxy before it, clients, and the oracle."""

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg
import redis

from models.registry import shipped_folder
from regionmir.admin.demo.instance import Instance
from tests.faults.oracle import FINAL, Judgement, Oracle
from tests.faults.pacs import FaultyPacs, faulty_pacs
from tests.faults.proxy import CuttingProxy, cutting_proxy
from tests.faults.sending import SENDER, Senders, Target
from tests.faults.volume import Volume, can_mount, mounted_volume
from tests.support.end_to_end import command, new_instance

PACS, READER = "PACS", "READER"
LEASE_S = 5
SETTINGS = {
    "REGIONMIR_LEASE_S": str(LEASE_S),
    "REGIONMIR_DELIVERY_LEASE_S": "20",
    "REGIONMIR_RECONCILE_S": "3",
    "REGIONMIR_QUIET_S": "1",
    "REGIONMIR_ANONYMOUS_STORE": "true",
    "REGIONMIR_TORCH_THREADS": "1",
    "REGIONMIR_DICOM_PROCESSES": "1",  # so that the node's memory is that of the process which `processes` finds
    "REGIONMIR_LOG_LEVEL": "warning",
}
ROLES = {
    "node": ("dicom_node",),
    "index worker": ("workers", "index"),
    "light worker": ("workers", "light"),
    "web": ("regionmir.web",),
    "postgres": ("postgres",),
    "redis": ("redis-server",),
}


_RETRY_S = 20.0
_UNPLANNED = """
SELECT count(*) FROM instance i WHERE state = 'indexed' AND source_ae = %s
AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.instance_pk = i.pk)
"""


@dataclass(frozen=True)
class Left:
    """What is on its way: films not acknowledged, instances in no final state, results not sent or not planned yet."""

    unsent: int = 0
    unfinished: int = 0
    undelivered: int = 0
    unplanned: int = 0

    @property
    def steps(self) -> int:
        """How many steps all of it has to go: acknowledged, indexed, planned, delivered."""
        return 4 * self.unsent + 3 * self.unfinished + 2 * self.unplanned + self.undelivered


@dataclass
class World:
    """A running system. `volume`: the file system of its data folder, None where none can be mounted."""

    folder: Path
    instance: Instance
    pacs: FaultyPacs
    proxy: CuttingProxy
    senders: Senders
    oracle: Oracle
    volume: Volume | None
    model: Path
    notes: list[str] = field(default_factory=list)

    def processes(self) -> dict[str, psutil.Process]:
        """Return the main process of each role that runs now, and the supervisor."""
        found: dict[str, psutil.Process] = {}
        try:
            supervisor = psutil.Process(self.instance.pid)
            children = supervisor.children()
        except psutil.NoSuchProcess:
            return found
        found["supervisor"] = supervisor
        for child in children:
            role = _role(child)
            if role:
                found[role] = child
        return found

    def signal(self, role: str, number: signal.Signals, *, family: bool = False) -> bool:
        """Send a signal to a role's process (`family`: its children too); False where it does not run now."""
        process = self.processes().get(role)
        if process is None:
            return False
        try:
            for one in [*(process.children(recursive=True) if family else []), process]:
                one.send_signal(number)
        except psutil.NoSuchProcess:
            return False
        return True

    def redis(self) -> "redis.Redis":
        url = self.instance.settings().require_redis_url()
        return redis.Redis(unix_socket_path=url.split("://", 1)[1].split("?")[0])

    def execute(self, *statements: str) -> None:
        """Run statements in the database."""
        url = self.instance.settings().require_database_url()
        with psycopg.connect(url, connect_timeout=3) as connection:
            for statement in statements:
                connection.execute(statement)

    def settle(self, stuck_s: float) -> float:
        """Undo what is broken and wait until all is sent, final and delivered; return how many seconds that took.

        A busy machine takes as long as it needs: this gives up, with a note, when for `stuck_s` nothing became less.
        """
        began = moved = time.monotonic()
        least, retried = Left(), 0.0
        self.pacs.revive()
        (self.pacs.folder / "mode").unlink(missing_ok=True)
        while time.monotonic() - moved < stuck_s:
            try:
                left = self.left()
                if left.steps == 0:
                    return time.monotonic() - began
                if not least.steps or left.steps < least.steps:
                    least, moved = left, time.monotonic()
                if time.monotonic() - retried > _RETRY_S:
                    retried = time.monotonic()
                    command(self.instance, "deliveries", "retry", "--all", check=False)
            except (psycopg.OperationalError, subprocess.TimeoutExpired):  # away, or slow: asked again
                pass
            time.sleep(1)
        self.notes.append(f"nothing moved for {stuck_s:.0f} s, and this is left: {least}")
        return time.monotonic() - began

    def left_or_unknown(self) -> "Left | None":
        """Return what is still on its way, None while the database is away."""
        try:
            return self.left()
        except psycopg.OperationalError:
            return None

    def judge(self) -> Judgement:
        return self.oracle.judge(self.instance.settings(), PACS, self.pacs.stored())

    def left(self) -> "Left":
        """Return what is still on its way. Raises `psycopg.OperationalError`."""
        url = self.instance.settings().require_database_url()
        with psycopg.connect(url, connect_timeout=3) as connection:

            def count(query: str, *values: object) -> int:
                row = connection.execute(query, values).fetchone()
                return int(row[0]) if row else 0

            return Left(
                unsent=self.senders.unsent(),
                unfinished=count("SELECT count(*) FROM instance WHERE state <> ALL(%s)", list(FINAL)),
                undelivered=count("SELECT count(*) FROM delivery WHERE state IN ('waiting', 'sending')"),
                unplanned=count(_UNPLANNED, SENDER),
            )


def _role(process: psutil.Process) -> str | None:
    try:
        line = process.cmdline()
    except psutil.Error:
        return None
    names = {Path(word).name for word in line[:1]} | set(line)
    if "redis-server" in " ".join(line[:1]):
        return "redis"
    return next((role for role, words in ROLES.items() if all(word in names for word in words)), None)


@contextmanager
def running_world(folder: Path, *, seed: int, volume_mib: int = 0) -> Iterator[World]:
    """Run everything below `folder`. `volume_mib`: size of an ext4 for the data folder, where one can be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "model"
    shutil.copytree(next(shipped_folder().iterdir()), model)
    with ExitStack() as stack:
        volume = stack.enter_context(mounted_volume(folder, volume_mib)) if volume_mib and can_mount() else None
        data = (volume.root if volume else folder) / "data"
        pacs = stack.enter_context(faulty_pacs(folder / "pacs"))
        instance = stack.enter_context(new_instance(data, {**SETTINGS, "REGIONMIR_MODEL": str(model)}))
        register(instance, pacs.port)
        proxy = stack.enter_context(cutting_proxy(instance.dicom_port))
        oracle = Oracle()
        target = Target("REGIONMIR", proxy.port, f"http://127.0.0.1:{instance.http_port}/dicom-web")
        senders = Senders(target, oracle.acknowledge, seed)
        senders.start()
        stack.callback(senders.stop)
        yield World(folder, instance, pacs, proxy, senders, oracle, volume, model)


def register(instance: Instance, pacs_port: int) -> None:
    """Register the sender, whose results go to the PACS, and a reader that sees original identities."""
    here = ("--source", "127.0.0.1", "--disclosure", "identified")
    command(instance, "peers", "add", PACS, "--host", "127.0.0.1", "--port", str(pacs_port), "--results", "sr", *here)
    command(instance, "peers", "add", SENDER, "--results-to", PACS, *here)
    command(instance, "peers", "add", READER, *here)
