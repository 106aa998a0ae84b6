"""`make orthanc-kill`: the same kills and power cuts while films arrive, for this node and for Orthanc.

    python -m tests.faults.orthanc_kill --rounds 10 --out build

In each round films are sent until some were acknowledged, then the archive is killed with signal 9, or its disk loses
its power; it starts again, and every instance that was ever acknowledged is fetched or looked up and compared by hash.
Both run with their defaults, on an ext4 of their own where one can be mounted (else there are no power cuts).
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Protocol

import httpx
import psutil

from tests.faults.films import Film, endless_films
from tests.faults.oracle import Oracle
from tests.faults.sending import Senders, Target
from tests.faults.volume import Volume, can_mount, mounted_volume, run_in_own_namespace
from tests.support.end_to_end import new_instance
from tests.support.orthanc import PROGRAM, configured
from tests.support.peers import dataset_bytes

_PICTURES = 60
_FILMS = 30
_DEADLINE_S = 120.0


class Archive(Protocol):
    """Something that acknowledges films."""

    target: Target

    def start(self) -> None:
        """Start it, and return when it takes associations."""

    def kill(self) -> None:
        """Kill all of it with signal 9."""

    def stop(self) -> None: ...

    def hashes(self, films: dict[str, Film]) -> dict[str, str]:
        """Return SHA-256 of the data set of each of these that it has, by SOP Instance UID."""


class OurNode:
    """All of RegionMIR."""

    def __init__(self, folder: Path) -> None:
        self._instance = new_instance(folder / "data")
        self.target = Target("REGIONMIR", self._instance.dicom_port)

    def start(self) -> None:
        self._instance.start()

    def kill(self) -> None:
        family = psutil.Process(self._instance.pid).children(recursive=True)
        self._instance.kill()
        for process in family:
            if process.is_running():
                process.kill()
        psutil.wait_procs(family, 30)

    def stop(self) -> None:
        self._instance.stop()

    def hashes(self, films: dict[str, Film]) -> dict[str, str]:
        from db import instances
        from db.engine import Database
        from regionmir.storage import FileStore

        settings = self._instance.settings()
        store, found = FileStore(settings.data_dir), {}
        database = Database(settings.require_database_url(), application_name="test")
        with database.session() as session:
            for uid in films:
                detail = instances.detail(session, uid)
                if detail is not None and store.exists(detail.storage_key):
                    found[uid] = store.dataset_sha256(detail.storage_key)
        database.close()
        return found


class Orthanc:
    """Orthanc with its defaults."""

    def __init__(self, folder: Path) -> None:
        self._path, self._url, port = configured(folder)
        self._process: subprocess.Popen[bytes] | None = None
        self.target = Target("ORTHANC", port)

    def start(self) -> None:
        with self._path.with_suffix(".log").open("ab") as log:
            self._process = subprocess.Popen([PROGRAM, self._path], stdout=log, stderr=log)
        end = time.monotonic() + _DEADLINE_S
        while True:
            try:
                httpx.get(f"{self._url}/system", trust_env=False).raise_for_status()
                return
            except httpx.HTTPError:
                assert self._process.poll() is None, self._path.with_suffix(".log").read_text()[-800:]
                assert time.monotonic() < end, "Orthanc does not answer"
                time.sleep(0.1)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(30)

    def hashes(self, films: dict[str, Film]) -> dict[str, str]:
        found = {}
        with httpx.Client(base_url=self._url, trust_env=False, timeout=30) as http:
            for uid in films:
                for one in http.post("/tools/lookup", content=uid).json():
                    answer = http.get(f"/instances/{one['ID']}/file")
                    if answer.status_code == 200 and answer.content:
                        found[uid] = sha256(dataset_bytes(answer.content)).hexdigest()
        return found


@dataclass
class Outcome:
    """What became of one archive."""

    name: str
    kills: int = 0
    power_cuts: int = 0
    acknowledged: int = 0
    lost_by_kills: int = 0
    lost_by_power_cuts: int = 0


def survive(
    name: str, archive: Archive, volume: Volume | None, films: Iterator[Film], seed: int, rounds: int
) -> Outcome:
    """Kill it so many times while films arrive, and return what is left of what it acknowledged."""
    choice, oracle, outcome = random.Random(seed), Oracle(), Outcome(name)
    lost: set[str] = set()
    archive.start()
    senders = Senders(archive.target, oracle.acknowledge, seed)
    senders.start()
    for number in range(rounds):
        before, wanted = oracle.count(), choice.randint(3, _FILMS - 5)
        senders.add(list(islice(films, _FILMS)))
        _wait(lambda before=before, wanted=wanted: oracle.count() >= before + wanted)  # type: ignore[misc]
        acknowledged = dict(oracle.films)
        if volume is not None and number % 2:
            volume.power_cut()
            archive.kill()
            volume.unmount()
            volume.mount()
            outcome.power_cuts += 1
        else:
            archive.kill()
            outcome.kills += 1
        archive.start()
        there = archive.hashes(acknowledged)
        now = {uid for uid, film in acknowledged.items() if there.get(uid) != film.sha256} - lost
        lost |= now
        if volume is not None and number % 2:
            outcome.lost_by_power_cuts += len(now)
        else:
            outcome.lost_by_kills += len(now)
        senders.wait_until_sent(_DEADLINE_S)
    senders.stop()
    outcome.acknowledged = oracle.count()
    archive.stop()
    return outcome


def _wait(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + _DEADLINE_S
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)


def main(arguments: list[str]) -> int:
    """Run both, print the table, and write it as JSON; 0 if this node lost nothing."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.orthanc_kill", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--only", choices=("RegionMIR", "Orthanc"), help="one of them alone")
    parser.add_argument("--out", type=Path, default=Path("build"))
    asked = parser.parse_args(arguments)
    run_in_own_namespace("tests.faults.orthanc_kill", ["--seed", str(asked.seed), *arguments])
    shared = Path(os.environ.get("REGIONMIR_SHARED_DIR") or Path(__file__).resolve().parents[3] / "shared")
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="kill") as name:
        films = endless_films(Path(name) / "films", shared if shared.is_dir() else None, _PICTURES)
        kinds: dict[str, Callable[[Path], Archive]] = {"RegionMIR": OurNode, "Orthanc": Orthanc}
        for kind, make in kinds.items():
            if asked.only not in (None, kind):
                continue
            with ExitStack() as stack:
                folder = Path(name) / kind
                volume = stack.enter_context(mounted_volume(folder, 2048)) if can_mount() else None
                archive = make(volume.root if volume else folder)
                outcomes.append(survive(kind, archive, volume, films, asked.seed, asked.rounds))
                print(outcomes[-1], flush=True)
    _tell(outcomes, asked.seed, asked.out)
    lost = sum(one.lost_by_kills + one.lost_by_power_cuts for one in outcomes if one.name == "RegionMIR")
    return 0 if lost == 0 else 1


def _tell(outcomes: list[Outcome], seed: int, out: Path) -> None:
    print(f"seed {seed}\n\n| archive | acknowledged | kill -9 | lost | power cuts | lost |\n|---|---|---|---|---|---|")
    for one in outcomes:
        figures = (one.acknowledged, one.kills, one.lost_by_kills, one.power_cuts, one.lost_by_power_cuts)
        print(f"| {one.name} | " + " | ".join(map(str, figures)) + " |")
    out.mkdir(parents=True, exist_ok=True)
    (out / "orthanc-kill.json").write_text(json.dumps([asdict(one) for one in outcomes], indent=2))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
