"""What a child process may use."""

import resource
import time
from dataclasses import dataclass
from typing import Final

_MAX_ANSWER_BYTES: Final = 3 << 29
"""1.5 GiB: the largest pixel data that is transcoded, and its header."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one child: address space in bytes, time of one call in seconds, bytes of one answer, calls until replaced."""

    memory_bytes: int = 4 << 30
    call_s: float = 25.0
    answer_bytes: int = _MAX_ANSWER_BYTES
    calls: int = 1000


def limit_memory(memory_bytes: int) -> None:
    """Let allocations beyond this address space fail from now on, and crashes leave no image of the memory."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_cpu(call_s: float) -> None:
    """Let the system end this process once it has computed for so long: also where nobody waits for it any more."""
    seconds = int(time.process_time() + call_s) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))
