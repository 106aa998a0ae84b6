"""A TCP proxy that keeps every byte, and the data sets in the PDUs among them (PS3.8 9.3)."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

_P_DATA = 0x04
_CHUNK = 1 << 16


@dataclass
class RecordingProxy:
    """Listens on `port` of loopback and passes everything on to `target`, another port there.

    `take_called` and `take_calling` give what the called and the calling side sent since they were last asked, one
    value for each connection. A byte is kept before it is passed on, so that what has arrived is here.
    """

    target: int
    _listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    _kept: dict[str, dict[int, bytearray]] = field(default_factory=lambda: {"calling": {}, "called": {}})
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _open: set[socket.socket] = field(default_factory=set)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def take_called(self) -> list[bytes]:
        return self._take("called")

    def take_calling(self) -> list[bytes]:
        return self._take("calling")

    def serve(self) -> None:
        """Accept connections until the listener is closed."""
        for number in range(1 << 30):
            try:
                calling, _ = self._listener.accept()
                called = socket.create_connection(("127.0.0.1", self.target), timeout=10)
            except OSError:
                return
            called.settimeout(None)
            for one in (calling, called):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._pass_on, args=(number, calling, called), daemon=True).start()

    def close(self) -> None:
        """Stop listening and end what is open."""
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()
        with self._lock:
            left = list(self._open)
        for one in left:
            one.close()

    def _pass_on(self, number: int, calling: socket.socket, called: socket.socket) -> None:
        """Pass on both ways until both sides have ended, and close: a long walk opens thousands of connections."""
        with self._lock:
            self._open |= {calling, called}
        back = threading.Thread(target=self._pump, args=(number, called, calling, "called"), daemon=True)
        back.start()
        self._pump(number, calling, called, "calling")
        back.join()
        with self._lock:
            self._open -= {calling, called}
        calling.close()
        called.close()

    def _pump(self, number: int, source: socket.socket, sink: socket.socket, side: str) -> None:
        try:
            while chunk := source.recv(_CHUNK):
                with self._lock:
                    self._kept[side].setdefault(number, bytearray()).extend(chunk)
                sink.sendall(chunk)
            sink.shutdown(socket.SHUT_WR)
        except OSError:  # one side is gone: the other need not wait
            for one in (source, sink):
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def _take(self, side: str) -> list[bytes]:
        with self._lock:
            taken, self._kept[side] = self._kept[side], {}
        return [bytes(one) for one in taken.values()]


@contextmanager
def recording_proxy(target: int) -> Iterator[RecordingProxy]:
    """Run a proxy in front of a port of loopback until the block ends."""
    proxy = RecordingProxy(target)
    thread = threading.Thread(target=proxy.serve, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
        thread.join(5)


def without_fragments(stream: bytes) -> bytes:
    """Return the fragments of all messages in a stream of whole PDUs, put together: a value may run across them."""
    found, at = bytearray(), 0
    while at + 6 <= len(stream):
        end = at + 6 + int.from_bytes(stream[at + 2 : at + 6], "big")
        if stream[at] == _P_DATA:
            inner = at + 6
            while inner + 6 <= min(end, len(stream)):
                length = int.from_bytes(stream[inner : inner + 4], "big")
                found += stream[inner + 6 : inner + 4 + length]
                inner += 4 + length
        at = end
    return bytes(found)
