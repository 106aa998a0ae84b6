"""Ports for servers that tests start: nobody else is handed them."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ports

ROOT = Path(__file__).resolve().parents[2]
HANDED_OUT = Path("/proc/sys/net/ipv4/ip_local_port_range")
ASK = "from tests.support.ports import free_port; print(*(free_port() for _ in range(300)))"


def asked_by(worker: str) -> set[int]:
    """Return the ports that one of two workers is handed."""
    names = {"PYTEST_XDIST_WORKER": worker, "PYTEST_XDIST_WORKER_COUNT": "2"}
    done = subprocess.run(
        [sys.executable, "-c", ASK], cwd=ROOT, env={**os.environ, **names}, capture_output=True, text=True, check=True
    )
    return set(map(int, done.stdout.split()))


def test_no_port_is_handed_out_twice_in_a_run_whichever_worker_asks() -> None:
    first, second = asked_by("gw0"), asked_by("gw1")
    assert len(first) == len(second) == 300
    assert not first & second


def test_the_system_hands_them_to_nobody() -> None:
    first, last = map(int, HANDED_OUT.read_text().split()) if HANDED_OUT.exists() else (32_768, 60_999)
    if first < 14_000:
        pytest.skip("the system hands out nearly every port")
    assert not [port for port in asked_by("gw0") if first <= port <= last]


@pytest.mark.parametrize("first_handed_out", [15_000, 20_000, 32_768])
def test_where_the_system_hands_out_lower_ones_the_shares_end_below(first_handed_out: int) -> None:
    shares = [ports.share(worker, 2, first_handed_out) for worker in range(2)]
    assert max(map(max, shares)) == min(first_handed_out, 20_000) - 1


def test_a_port_on_which_somebody_listens_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, free = ports.free_port(), ports.free_port()
    with socket.create_server(("127.0.0.1", taken)):
        monkeypatch.setattr(ports, "share", lambda *_: [taken, free])
        assert next(ports._free_ports()) == free
