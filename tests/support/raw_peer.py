"""A peer on a bare socket: its PDUs are written here, it waits for nobody unless told (PS3.8 9.3)."""

import socket
import struct
from types import TracebackType
from typing import Self

from pydicom.dataset import Dataset

from tests.support.dicom import CR, EXPLICIT, encoded

VERIFICATION = "1.2.840.10008.1.1"
_APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"
_CONTEXT_ID = 1
_FRAGMENT = 16_000
ACCEPT, REJECT, P_DATA, RELEASE_REPLY, ABORT = 0x02, 0x03, 0x04, 0x06, 0x07


class RawPeer:
    """A connection to a node on loopback, from `source`, another address of it."""

    def __init__(self, port: int, *, source: str = "127.0.0.1", timeout_s: float = 60.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout_s, source_address=(source, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def associate(self, *, called: str = "REGIONMIR", calling: str = "RAW", sop_class: str = CR) -> int:
        """Ask for an association with one context and return the type of the PDU that answers; 0: closed."""
        self.socket.sendall(association_request(called, calling, sop_class))
        return self.read()[0]

    def store(self, dataset: Dataset) -> int:
        """Send an instance and return the status."""
        self.begin_store(dataset)
        data = encoded(dataset)
        for at in range(0, len(data), _FRAGMENT):
            self.send_fragment(data[at : at + _FRAGMENT], last=at + _FRAGMENT >= len(data))
        return self.status()

    def begin_store(self, dataset: Dataset) -> None:
        """Send a C-STORE command and nothing more."""
        self._send_data(b"\x03" + _store_command(dataset))

    def send_fragment(self, data: bytes, *, last: bool) -> None:
        """Send a part of the data set that `begin_store` announced."""
        self._send_data((b"\x02" if last else b"\x00") + data)

    def status(self) -> int:
        """Return the status of the answer that comes next."""
        kind, body = self.read()
        assert kind == P_DATA, f"PDU type {kind:02X}"
        at = body.index(struct.pack("<HHL", 0x0000, 0x0900, 2)) + 8
        return int.from_bytes(body[at : at + 2], "little")

    def release(self) -> int:
        """Ask for the release and return the type of the answer; the connection stays open."""
        self.socket.sendall(b"\x05\x00" + struct.pack(">L", 4) + bytes(4))
        return self.read()[0]

    def read(self) -> tuple[int, bytes]:
        """Return type and body of the next PDU; (0, b"") where the connection is closed."""
        try:
            head = self._exactly(6)
            return (head[0], self._exactly(int.from_bytes(head[2:6], "big"))) if head else (0, b"")
        except ConnectionError:
            return 0, b""

    def is_closed(self, within_s: float) -> bool:
        """Return whether the node closes the connection in time; what it says before is passed over."""
        self.socket.settimeout(within_s)
        try:
            while self.socket.recv(4096):
                continue
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        return True

    def _exactly(self, count: int) -> bytes:
        found = b""
        while len(found) < count and (chunk := self.socket.recv(count - len(found))):
            found += chunk
        return found

    def _send_data(self, fragment: bytes) -> None:
        item = struct.pack(">LB", len(fragment) + 1, _CONTEXT_ID) + fragment
        self.socket.sendall(b"\x04\x00" + struct.pack(">L", len(item)) + item)


def association_request(called: str, calling: str, sop_class: str) -> bytes:
    """Return an A-ASSOCIATE-RQ (PS3.8 9.3.2) with one presentation context, Explicit VR Little Endian."""
    context = (
        struct.pack(">BBBB", _CONTEXT_ID, 0, 0, 0) + _item(0x30, sop_class.encode()) + _item(0x40, EXPLICIT.encode())
    )
    user = _item(0x51, struct.pack(">L", 16_384)) + _item(0x52, b"1.2.3.4")
    titles = called.encode().ljust(16) + calling.encode().ljust(16) + bytes(32)
    body = b"\0\x01\0\0" + titles + _item(0x10, _APPLICATION_CONTEXT) + _item(0x20, context) + _item(0x50, user)
    return b"\x01\0" + struct.pack(">L", len(body)) + body


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(value)) + value


def _store_command(dataset: Dataset) -> bytes:
    values = {
        0x0002: _even(dataset.SOPClassUID),
        0x0100: struct.pack("<H", 0x0001),
        0x0110: struct.pack("<H", 7),
        0x0700: struct.pack("<H", 0),
        0x0800: struct.pack("<H", 1),
        0x1000: _even(dataset.SOPInstanceUID),
    }
    body = b"".join(struct.pack("<HHL", 0, number, len(value)) + value for number, value in values.items())
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def _even(text: str) -> bytes:
    value = text.encode("ascii")
    return value + b"\0" if len(value) % 2 else value
