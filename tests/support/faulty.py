"""What a decoder may do to its process, as operations of the sandbox."""

import ctypes
import os
import time
from pathlib import Path

from regionmir.core.errors import UnsupportedImage
from regionmir.sandbox import Answer


def process(content: bytes = b"") -> Answer:
    """Return who runs this, and what came."""
    return Answer({"pid": os.getpid(), "environment": sorted(os.environ)}, content)


def crash() -> Answer:
    """Read from address 0, as a decoder with a bug."""
    return Answer({"never": ctypes.string_at(0)})


def crash_once(marker: str) -> Answer:
    """Crash unless an earlier call did: what a decoder does that another object has damaged."""
    if not Path(marker).exists():
        Path(marker).touch()
        crash()
    return Answer({"fine": True})


def leave() -> Answer:
    """End the process, as libraries do that call exit()."""
    os._exit(3)


def hang() -> Answer:
    """Wait for ever without computing."""
    while True:
        time.sleep(60)


def grow() -> Answer:
    """Take memory until there is none."""
    taken = []
    while True:
        taken.append(bytes(64 << 20))


def flood(size: int) -> Answer:
    """Return very much."""
    return Answer(content=bytes(size))


def refuse() -> Answer:
    raise UnsupportedImage("lateral view", "detail")


def miss(path: str) -> Answer:
    return Answer({"read": len(Path(path).read_bytes())})


def break_with(secret: str) -> Answer:
    raise ValueError(f"the patient is {secret}")
