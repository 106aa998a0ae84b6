"""The destination of results: a storage SCP in a process of its own that misbehaves when told, and logs what it kept.

    python -m tests.faults.pacs PORT FOLDER

`FOLDER/stored.jsonl` has a line for each instance that it stored: SOP Instance UID and SHA-256 of the data set.
`FOLDER/mode` holds `MODE COUNT`: so many of the next C-STOREs are treated so.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import cast

from pynetdicom import AE, _config, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from tests.support.peers import wait_for_port
from tests.support.ports import free_port

MODES = ("busy", "never", "abort", "abort after", "die", "die after", "slow")
"""What happens to a C-STORE: out of resources; refused for good; association aborted before or after the instance is
stored; process ended before or after; answered late. After: the sender cannot know that it was stored."""

_STATUS = {"busy": 0xA700, "never": 0xC000}
_LATE_S = 2.0


@dataclass
class FaultyPacs:
    """Runs the process and tells it how to behave."""

    folder: Path
    port: int
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-m", "tests.faults.pacs", str(self.port), str(self.folder)])
        wait_for_port(self.port, 60)

    def kill(self) -> None:
        """Kill it the hard way."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def revive(self) -> None:
        """Start it again if it has ended."""
        if self.process is None or self.process.poll() is not None:
            self.start()

    def misbehave(self, mode: str, count: int) -> None:
        """Treat the next `count` C-STOREs so."""
        new = self.folder / "mode.new"
        new.write_text(f"{count} {mode}")
        new.replace(self.folder / "mode")

    def stored(self) -> list[tuple[str, str]]:
        """Return SOP Instance UID and SHA-256 of every C-STORE that was kept, in order."""
        try:
            lines = (self.folder / "stored.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [tuple(json.loads(line)) for line in lines]


@contextmanager
def faulty_pacs(folder: Path) -> Iterator[FaultyPacs]:
    """Run one on a free port until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    pacs = FaultyPacs(folder, free_port())
    pacs.start()
    try:
        yield pacs
    finally:
        pacs.kill()


def serve(port: int, folder: Path) -> None:
    """Serve until killed."""
    _config.UNRESTRICTED_STORAGE_SERVICE = True
    ae = AE("PACS")
    ae.add_supported_context(Verification)
    ae.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, _store, [folder])])


def _store(event: Event, folder: Path) -> int:
    mode = _take_mode(folder)
    if mode in _STATUS:
        return _STATUS[mode]
    if mode == "slow":
        time.sleep(_LATE_S)
    if mode == "die":
        os._exit(1)
    if mode == "abort":
        event.assoc.abort()
        return 0xA700
    request = cast(C_STORE, event.request)
    content = cast(BytesIO, request.DataSet).getvalue()
    line = json.dumps([str(request.AffectedSOPInstanceUID), sha256(content).hexdigest()]) + "\n"
    with (folder / "stored.jsonl").open("a") as log:
        log.write(line)
    if mode == "die after":
        os._exit(1)
    if mode == "abort after":
        event.assoc.abort()
    return 0x0000


def _take_mode(folder: Path) -> str:
    path = folder / "mode"
    try:
        count, mode = path.read_text().split(" ", 1)
    except (FileNotFoundError, ValueError):
        return ""
    if int(count) <= 1:
        path.unlink()
    else:
        path.write_text(f"{int(count) - 1} {mode}")
    return mode


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))
