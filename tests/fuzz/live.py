"""A live node in the fuzzer's process, that is given any bytes in the place of PDUs (PS3.8 9.3)."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Final

from tests.hostile.campaign import HANG_S, Crash, site, thread_errors
from tests.hostile.wire import talk
from tests.support.postgres import TestDatabases

SERVER, FOLDER = "REGIONMIR_FUZZ_SERVER", "REGIONMIR_FUZZ_FOLDER"
"""Variables that name a database server and a folder: the fuzzer ends without cleaning up, so its parent does."""

_ECHO_EVERY: Final = 25
_alive: Final = ExitStack()


def start() -> None:
    """Start the node, so that the first input does not wait for it."""
    _node()


def pdus(data: bytes) -> None:
    """Send these bytes over a connection of their own; a thread that ends by an error is a crash, silence a hang."""
    _node()(data)


@cache
def _node() -> Callable[[bytes], None]:
    """Start a node that lives as long as this process, and return what sends it bytes."""
    on = _alive.enter_context(site(TestDatabases(os.environ[SERVER]), Path(os.environ[FOLDER]) / "data"))
    errors = _alive.enter_context(thread_errors())
    tried = 0

    def send(data: bytes) -> None:
        nonlocal tried
        talk(on.server.port, data, HANG_S - 5)
        tried += 1
        if tried % _ECHO_EVERY == 0:
            on.echo()
        if errors:
            raise Crash("; ".join(errors))

    return send
