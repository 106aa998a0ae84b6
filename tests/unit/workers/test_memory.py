"""Memory that lies free between what is in use goes back to the system."""

import psutil
import pytest

from workers.memory import _malloc_trim, give_back

MIB = 2**20


@pytest.mark.skipif(_malloc_trim() is None, reason="not glibc's malloc")
def test_free_memory_between_buffers_in_use_is_given_back() -> None:
    process = psutil.Process()
    buffers = [bytes([n % 255 + 1]) * 65_536 for n in range(3200)]  # 200 MiB, below the size that is mapped by itself
    kept = buffers[::50]
    full = process.memory_info().rss
    del buffers
    assert process.memory_info().rss > full - 50 * MIB, "the last one in use keeps it"
    assert give_back()
    assert process.memory_info().rss < full - 120 * MIB
    assert len(kept) == 64
