"""The faults, as data: a name, how often it is drawn, and what is done. Each leaves the system able to recover."""

import random
import resource
import signal
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import redis

from tests.faults.pacs import MODES
from tests.faults.world import World

Inject = Callable[[World, random.Random], bool]
"""Does it, and returns whether it could be done now."""

_HOUR_FORWARD, _HOUR_BACK = "interval '-1 hour'", "interval '1 hour'"
"""What is added to the stamps when the clock moves so."""
_STAMPS = (
    "UPDATE instance SET lease_until = lease_until + {by} WHERE lease_until IS NOT NULL",
    "UPDATE delivery SET lease_until = lease_until + {by}, next_try_at = next_try_at + {by} "
    "WHERE state IN ('waiting', 'sending')",
)


@dataclass(frozen=True)
class Fault:
    """One kind of fault. `heavy`: recovery takes longer than the pause between two faults."""

    name: str
    weight: float
    inject: Inject
    heavy: bool = False
    needs_volume: bool = False


def _kill(role: str) -> Inject:
    return lambda world, _: world.signal(role, signal.SIGKILL)


def _freeze(role: str) -> Inject:
    def inject(world: World, choice: random.Random) -> bool:
        if not world.signal(role, signal.SIGSTOP, family=True):
            return False
        time.sleep(choice.uniform(0.3, 3.0))
        return world.signal(role, signal.SIGCONT, family=True)

    return inject


def _kill_supervisor(world: World, _: random.Random) -> bool:
    world.instance.kill()
    world.instance.start()
    return True


def _restart_postgres(world: World, _: random.Random) -> bool:
    return world.signal("postgres", signal.SIGINT)  # a fast shutdown


def _terminate_backends(world: World, _: random.Random) -> bool:
    process = world.processes().get("postgres")
    if process is None:
        return False
    backends = process.children()
    for backend in backends:
        with suppress(psutil.NoSuchProcess):
            if "regionmir" in " ".join(backend.cmdline()):
                backend.send_signal(signal.SIGTERM)
    return bool(backends)


def _flush_redis(world: World, _: random.Random) -> bool:
    try:
        with world.redis() as client:
            return bool(client.flushall())
    except redis.RedisError:
        return False


def _cut_connections(world: World, _: random.Random) -> bool:
    return world.proxy.cut() > 0


def _kill_pacs(world: World, choice: random.Random) -> bool:
    world.pacs.kill()
    time.sleep(choice.uniform(0.2, 2.0))
    world.pacs.revive()
    return True


def _pacs(mode: str) -> Inject:
    def inject(world: World, choice: random.Random) -> bool:
        world.pacs.revive()
        world.pacs.misbehave(mode, choice.randint(1, 2))
        return True

    return inject


def _fill_disk(world: World, choice: random.Random) -> bool:
    assert world.volume is not None
    world.volume.fill()
    time.sleep(choice.uniform(1.0, 4.0))
    world.volume.free()
    return True


def _limit_files(world: World, choice: random.Random) -> bool:
    """Let the node write no file larger than 64 KiB for a while: EFBIG stands in for ENOSPC, without root."""
    process = world.processes().get("node")
    if process is None:
        return False
    infinity = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    with suppress(OSError):
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (65_536, resource.RLIM_INFINITY))
        time.sleep(choice.uniform(0.5, 2.0))
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, infinity)
        return True
    return False


def _corrupt_weights(world: World, choice: random.Random) -> bool:
    """Turn a byte of the weights and kill the worker; the right weights come back after some seconds."""
    path = world.model / "model.safetensors"
    whole = path.read_bytes()
    broken = bytearray(whole)
    broken[choice.randrange(len(whole) // 2, len(whole))] ^= 0xFF
    _replace(path, bytes(broken))
    killed = world.signal("index worker", signal.SIGKILL)
    time.sleep(choice.uniform(2.0, 5.0))
    _replace(path, whole)
    return killed


def _replace(path: Path, content: bytes) -> None:
    new = path.with_name("new")
    new.write_bytes(content)
    new.replace(path)


def _move_clock(by: str) -> Inject:
    """Move the stamps that the database compares with its clock: the same as its clock moved the other way."""

    def inject(world: World, _: random.Random) -> bool:
        try:
            world.execute(*(statement.format(by=by) for statement in _STAMPS))
        except psycopg.Error:
            return False
        return True

    return inject


def _cut_power(world: World, _: random.Random) -> bool:
    """Drop every write that was not synced, with all processes, and start again on what the disk has."""
    assert world.volume is not None
    acknowledged = world.oracle.count()
    world.volume.power_cut()
    family = psutil.Process(world.instance.pid).children(recursive=True)
    world.instance.kill()
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family, 30)
    world.volume.unmount()
    world.volume.mount()
    world.volume.free()
    world.instance.start()
    world.notes.append(f"power cut after {acknowledged} acknowledged")
    return True


def _die_in_the_middle(world: World, choice: random.Random) -> bool:
    """Kill two processes at once."""
    roles = choice.sample(["node", "index worker", "light worker", "web", "redis"], 2)
    killed = [world.signal(role, signal.SIGKILL) for role in roles]
    return all(killed)


FAULTS: tuple[Fault, ...] = (
    *(Fault(f"kill -9 {role}", 1.0, _kill(role), heavy=True) for role in ("node", "light worker", "web", "postgres")),
    Fault("kill -9 index worker", 1.0, _kill("index worker"), heavy=True),
    Fault("kill -9 redis", 1.0, _kill("redis")),
    Fault("kill -9 supervisor", 0.4, _kill_supervisor, heavy=True),
    Fault("kill -9 of two processes at once", 0.5, _die_in_the_middle, heavy=True),
    *(
        Fault(f"freeze and thaw {role}", 1.0, _freeze(role))
        for role in ("node", "index worker", "light worker", "web", "postgres", "redis", "supervisor")
    ),
    Fault("restart PostgreSQL", 0.7, _restart_postgres, heavy=True),
    Fault("end every database connection", 2.0, _terminate_backends),
    Fault("FLUSHALL of Redis", 4.0, _flush_redis),
    Fault("reset every connection of senders", 8.0, _cut_connections),
    Fault("kill -9 destination PACS", 1.5, _kill_pacs),
    *(Fault(f"destination PACS: {mode}", 1.2, _pacs(mode)) for mode in MODES),
    Fault("disk full", 0.7, _fill_disk, heavy=True, needs_volume=True),
    Fault("node may write no large file", 1.5, _limit_files),
    Fault("weights corrupted", 0.4, _corrupt_weights, heavy=True),
    Fault("clock an hour forward", 1.0, _move_clock(_HOUR_FORWARD)),
    Fault("clock an hour back", 1.0, _move_clock(_HOUR_BACK)),
    Fault("power cut", 0.4, _cut_power, heavy=True, needs_volume=True),
)


def drawn(choice: random.Random, count: int, *, with_volume: bool) -> deque[Fault]:
    """Return so many faults in random order; each kind comes once before any comes twice, as far as they reach."""
    usable = [fault for fault in FAULTS if with_volume or not fault.needs_volume]
    first = choice.sample(usable, min(count, len(usable)))
    rest = choice.choices(usable, [fault.weight for fault in usable], k=count - len(first))
    together = [*first, *rest]
    choice.shuffle(together)
    return deque(together)


def quick(choice: random.Random, count: int) -> deque[Fault]:
    """Return so many of the faults from which the system recovers soon, and a kill of the node and of PostgreSQL."""
    light = [fault for fault in FAULTS if not (fault.heavy or fault.needs_volume)]
    killed = [fault for fault in FAULTS if fault.name in ("kill -9 node", "kill -9 postgres")]
    together = [*killed, *choice.sample(light, count - len(killed))]
    choice.shuffle(together)
    return deque(together)
