"""The process that benchmarks measure: the node, as `regionmir up` runs it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.ports import free_port


@contextmanager
def node(database_url: str, folder: Path, *, redis_url: str = "") -> Iterator[int]:
    """Run `python -m dicom_node` until the block ends and give its port; without `redis_url` nobody is woken."""
    port = free_port()
    environment = {
        **os.environ,
        "REGIONMIR_DATA_DIR": str(folder),
        "REGIONMIR_DATABASE_URL": database_url,
        "REGIONMIR_REDIS_URL": redis_url or f"redis+socket://{folder}/none",
        "REGIONMIR_DICOM_PORT": str(port),
        "REGIONMIR_LOG_LEVEL": "error",
    }
    process = subprocess.Popen([sys.executable, "-m", "dicom_node"], env=environment)
    try:
        _wait_until_open(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def _wait_until_open(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError("the node did not start")
