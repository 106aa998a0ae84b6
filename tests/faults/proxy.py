"""A TCP proxy in front of the node that can drop every connection at once, in the middle of whatever it carries."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CHUNK = 1 << 14
_RESET = struct.pack("ii", 1, 0)


class CuttingProxy:
    """Passes on to `target`, a port of loopback; `cut` resets what is open, also for the node."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def cut(self) -> int:
        """Reset every connection and return how many sockets those were."""
        with self._lock:
            sockets = list(self._open)
        for one in sockets:
            with suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                one.shutdown(socket.SHUT_RDWR)
        return len(sockets)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _serve(self) -> None:
        while True:
            try:
                calling, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(calling,), daemon=True).start()

    def _connect(self, calling: socket.socket) -> None:
        try:
            called = socket.create_connection(("127.0.0.1", self._target), timeout=10)
        except OSError:
            calling.close()
            return
        called.settimeout(None)
        with self._lock:
            self._open |= {calling, called}
        back = threading.Thread(target=_pump, args=(called, calling), daemon=True)
        back.start()
        _pump(calling, called)
        back.join()
        with self._lock:
            self._open -= {calling, called}
        calling.close()
        called.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while chunk := source.recv(_CHUNK):
            sink.sendall(chunk)
        sink.shutdown(socket.SHUT_WR)
    except OSError:  # one side is gone: the other need not wait
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@contextmanager
def cutting_proxy(target: int) -> Iterator[CuttingProxy]:
    """Run one until the block ends."""
    proxy = CuttingProxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
