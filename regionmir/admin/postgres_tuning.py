"""Options of our own PostgreSQL: what may never be weakened, and memory fitted to the machine."""

import os
from pathlib import Path

import psutil

MIB = 2**20

_FIXED = {
    # reached by unix socket only, by our own account only
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    # an acknowledged instance survives a power failure
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # similarity queries are short; compiling one costs more than running it
    "jit": "off",
    "random_page_cost": "1.1",
    "max_wal_size": "1GB",
    # to standard error, where the supervisor forwards it; no statement and no detail, which hold values of patients
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_line_prefix": "",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


def tuned_options() -> dict[str, str]:
    """Return the options for the server's command line."""
    memory = _memory_bytes()
    maintenance = _clamped(memory // 16, 64 * MIB, 512 * MIB)
    return {
        **_FIXED,
        "shared_buffers": f"{_clamped(memory // 4, 32 * MIB, 8192 * MIB) // MIB}MB",
        "effective_cache_size": f"{max(memory // 2, 64 * MIB) // MIB}MB",
        "maintenance_work_mem": f"{maintenance // MIB}MB",
        # parallel builds of HNSW share memory through /dev/shm, of which a container has 64 MiB unless told
        "max_parallel_maintenance_workers": "2" if _shared_memory_bytes() > 2 * maintenance else "0",
    }


def _clamped(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))


def _memory_bytes() -> int:
    """Return the memory that this machine, or the container we are in, may use."""
    total = int(psutil.virtual_memory().total)
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdigit() else total


def _shared_memory_bytes() -> int:
    try:
        status = os.statvfs("/dev/shm")  # noqa: S108
    except OSError:
        return 0
    return status.f_bavail * status.f_frsize
