"""Messages between a process and its child: a JSON object and, behind it, bytes. Nothing is ever unpickled."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

_HEAD: Final = struct.Struct("<IQ")
"""Bytes of the JSON text, and of what follows it."""

_MAX_TEXT: Final = 16 << 20


class Connection(Protocol):
    """As much of a socket as messages need."""

    def sendall(self, data: bytes | memoryview, /) -> object: ...
    def recv_into(self, buffer: memoryview, /) -> int: ...


class BadMessage(Exception):
    """The other side ended, or says what no message of ours is."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a function returns: values that JSON can hold, and bytes (a picture, an object)."""

    values: Mapping[str, Any] = field(default_factory=dict)
    content: bytes | bytearray | memoryview = b""


def send(connection: Connection, message: Answer) -> None:
    """Send a message. Raises `OSError`, `TimeoutError` among them."""
    text, content = json.dumps(message.values).encode(), memoryview(message.content).cast("B")
    connection.sendall(_HEAD.pack(len(text), len(content)) + text)
    connection.sendall(content)


def receive(connection: Connection, max_bytes: int) -> Answer:
    """Return the next message, of at most so many bytes. Raises `BadMessage`, `OSError`."""
    text_bytes, content_bytes = _HEAD.unpack(_exactly(connection, _HEAD.size))
    if text_bytes > _MAX_TEXT or content_bytes > max_bytes:
        raise BadMessage("message too long")
    text, content = _exactly(connection, text_bytes), _exactly(connection, content_bytes)
    try:
        values = json.loads(text)
    except ValueError:
        raise BadMessage("no JSON") from None
    if not isinstance(values, dict):
        raise BadMessage("no JSON object")
    return Answer(values, content)


def _exactly(connection: Connection, count: int) -> bytearray:
    received = bytearray(count)
    at = 0
    with memoryview(received) as view:
        while at < count:
            got = connection.recv_into(view[at:])
            if not got:
                raise BadMessage("the other side ended")
            at += got
    return received
