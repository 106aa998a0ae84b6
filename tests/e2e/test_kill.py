"""`kill -9` of any one process while instances come in: what was acknowledged is indexed, once."""

import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from regionmir.admin.demo.instance import Instance
from regionmir.admin.ended import still_running
from regionmir.core.identifiers import AETitle
from regionmir.pixels.dicomize import Naming, dicomize_films, read_films
from regionmir.scu.peer import PeerAddress
from tests.support.acknowledged import duplicates, send_all
from tests.support.chance import seed_of_run
from tests.support.end_to_end import command, listed, new_instance, real_films, wait_until_final

COUNT = 200
VICTIMS = {
    "node": ("dicom_node",),
    "index worker": ("workers", "index"),
    "light worker": ("workers", "light"),
    "web": ("regionmir.web",),
    "postgres": ("postgres",),
    "redis": ("redis-server",),
    "supervisor": ("up",),
}

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with new_instance(tmp_path_factory.mktemp("kill") / "node", {"REGIONMIR_LEASE_S": "5"}) as running:
        yield running


@pytest.mark.parametrize("victim", VICTIMS)
def test_what_was_acknowledged_is_indexed_once_after_a_kill_of(
    victim: str, instance: Instance, tmp_path: Path, shared_or_demo: Path | None
) -> None:
    files = _films(tmp_path, shared_or_demo, victim)
    kill_after = random.Random(f"{seed_of_run(long=False)} {victim}").randint(20, COUNT - 20)
    sent_enough = threading.Event()
    killer = threading.Thread(target=_kill, args=(instance, victim, sent_enough))
    killer.start()
    peer = PeerAddress(AETitle("REGIONMIR"), "127.0.0.1", instance.dicom_port)
    acknowledged = send_all(peer, files, lambda count: sent_enough.set() if count >= kill_after else None)
    killer.join(120)
    assert not killer.is_alive()

    assert len(acknowledged) == COUNT
    wait_until_final(instance, len(listed(instance)), 120)
    of_uid = {one["sop_instance_uid"]: one for one in listed(instance)}
    assert Counter(of_uid[uid]["state"] for uid in acknowledged) == {"indexed": COUNT}
    assert duplicates(instance.settings().require_database_url()) == []


def _films(folder: Path, shared: Path | None, victim: str) -> list[Path]:
    """Return 200 real films that this instance has not seen: the same pictures under other identities."""
    real_films(folder, shared, 1)  # fetches the demo's films where the shared ones are absent
    source = folder / "films" / "pictures" if shared is None else shared / "data" / "cxr"
    films = [f for f in read_films(source) if f.split in ("val", "demo")][:COUNT]
    prefix = "KILL" + victim.replace(" ", "")[:4].upper()
    made = dicomize_films(films, folder / "dicom" / victim, naming=Naming(prefix=prefix))
    assert len(made.written) == COUNT
    return [folder / "dicom" / victim / film.file for film in made.written]


def _kill(instance: Instance, victim: str, sent_enough: threading.Event) -> None:
    sent_enough.wait(120)
    if victim == "supervisor":
        instance.kill()
        instance.start()
        return
    os.kill(_process(instance, victim).pid, signal.SIGKILL)


def _process(instance: Instance, victim: str) -> psutil.Process:
    wanted = VICTIMS[victim]
    for child in psutil.Process(instance.pid).children():
        line = child.cmdline()
        if all(any(part == word or Path(word).name == part for word in line) for part in wanted):
            return child
        if victim == "redis" and "redis-server" in " ".join(line):
            return child
    raise AssertionError(f"no {victim} among {[c.cmdline() for c in psutil.Process(instance.pid).children()]}")


def test_nothing_of_it_runs_after_a_clean_stop(tmp_path: Path) -> None:
    with new_instance(tmp_path / "node") as instance:
        children = psutil.Process(instance.pid).children(recursive=True)
        assert len(children) >= 6
        assert "indexed" in command(instance, "status")
    assert still_running(children, 10) == []
