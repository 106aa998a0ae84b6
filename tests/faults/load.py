"""`make load`: memory of the node while 64 associations send large objects at once, with bad peers beside them.

python -m tests.faults.load --associations 64 --mib 8 --out build
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil

from regionmir.core.settings import Settings
from tests.faults.memory import MIB
from tests.support.dicom import encoded, radiograph
from tests.support.peers import wait_for_port
from tests.support.ports import free_port
from tests.support.postgres import TestDatabases, durable_server
from tests.support.raw_peer import ACCEPT, REJECT, RawPeer

_ROUNDS = 2
_EVERY_S = 0.05
_CHUNK = 16_000


def main(arguments: list[str]) -> int:
    """Measure, print, write load.json; 0 if every instance was acknowledged."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.load", description=__doc__)
    parser.add_argument("--associations", type=int, default=64)
    parser.add_argument("--mib", type=int, default=8, help="size of each object")
    parser.add_argument("--out", type=Path, default=Path("build"))
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="load") as name, durable_server(Path(name) / "postgres") as server:
        figures = _measure(Path(name), TestDatabases(server.url).migrated(), asked.associations, asked.mib)
    print(json.dumps(figures, indent=2))
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "load.json").write_text(json.dumps(figures, indent=2))
    return 0 if figures["acknowledged"] == figures["sent"] else 1


def _measure(folder: Path, database_url: str, associations: int, mib: int) -> dict[str, float]:
    port = free_port()
    settings = {
        "DATA_DIR": str(folder / "data"), "DATABASE_URL": database_url, "DICOM_PORT": str(port),
        "REDIS_URL": f"redis+socket://{folder}/none", "LOG_LEVEL": "error",
        "DICOM_PROCESSES": "1", "MAX_ASSOCIATIONS": str(associations), "MAX_ASSOCIATIONS_PER_PEER": str(associations),
    }  # fmt: skip
    assert {name.lower() for name in settings} <= set(Settings.model_fields)
    environment = {f"REGIONMIR_{name}": value for name, value in settings.items()}
    process = subprocess.Popen([sys.executable, "-m", "dicom_node"], env=environment)
    try:
        wait_for_port(port, 120)
        return _figures(psutil.Process(process.pid), port, associations, mib)
    finally:
        process.terminate()
        process.wait(60)


def _figures(node: psutil.Process, port: int, associations: int, mib: int) -> dict[str, float]:
    idle = node.memory_info().rss
    samples: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_EVERY_S):
            with suppress(psutil.NoSuchProcess):
                samples.append(node.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    began = time.monotonic()
    with ExitStack() as stack:
        for _ in range(associations // 2):  # bad company: connections from elsewhere that never say a word
            stack.enter_context(RawPeer(port, source="127.0.0.2"))
        senders = []
        for _ in range(associations):  # one after the other: a connection has a deadline for its request
            senders.append(stack.enter_context(RawPeer(port)))
            assert senders[-1].associate() == ACCEPT
        one_more = stack.enter_context(RawPeer(port, source="127.0.0.3"))
        assert one_more.associate() == REJECT
        acknowledged = sum(_send_at_once(senders, mib) for _ in range(_ROUNDS))
    seconds = time.monotonic() - began
    over.set()
    watcher.join()
    return {
        "associations": associations,
        "object_mib": mib,
        "sent": associations * _ROUNDS,
        "acknowledged": acknowledged,
        "seconds": round(seconds, 1),
        "idle_mib": round(idle / MIB),
        "peak_mib": round(max(samples) / MIB),
    }


def _send_at_once(senders: list[RawPeer], mib: int) -> int:
    """Send an object over each association, a fragment of each in turn, and return how many were acknowledged."""
    side = int((mib * MIB / 2) ** 0.5)
    films = [radiograph() for _ in senders]
    pixels = bytes(2 * side * side)
    for sender, film in zip(senders, films, strict=True):
        film.Rows = film.Columns = side
        sender.begin_store(film)
    for sender, film in zip(senders, films, strict=True):
        film.PixelData = b""
        film["PixelData"].VR = "OW"
        sender.send_fragment(encoded(film)[:-4] + len(pixels).to_bytes(4, "little"), last=False)
    for at in range(0, len(pixels), _CHUNK):
        for sender in senders:
            sender.send_fragment(pixels[at : at + _CHUNK], last=at + _CHUNK >= len(pixels))
    return sum(sender.status() == 0x0000 for sender in senders)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
