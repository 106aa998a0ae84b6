"""A peer below the level of DICOM libraries: PDUs made byte by byte (PS3.8 9.3), and broken ones of every kind."""

import random
import socket
import struct
from collections.abc import Callable
from typing import Final

FIND_STUDY_ROOT: Final = "1.2.840.10008.5.1.4.1.2.2.1"
VERIFICATION: Final = "1.2.840.10008.1.1"
_EXPLICIT: Final = "1.2.840.10008.1.2.1"
_LENGTHS: Final = (0, 1, 2, 5, 6, 67, 68, 0xFF, 0xFFFF, 0x10000, 1 << 24, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)
ABORT: Final = struct.pack(">BBLBBBB", 7, 0, 4, 0, 0, 0, 0)
RELEASE: Final = struct.pack(">BBLL", 5, 0, 4, 0)


def item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(body)) + body


def pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBL", kind, 0, len(body)) + body


def associate_request(abstract_syntaxes: list[str], *, calling: str = "HOSTILE", called: str = "REGIONMIR") -> bytes:
    """Return an A-ASSOCIATE-RQ that proposes Explicit VR Little Endian in contexts 1, 3, ..."""
    contexts = b"".join(
        item(0x20, bytes([2 * n + 1, 0, 0, 0]) + item(0x30, uid.encode()) + item(0x40, _EXPLICIT.encode()))
        for n, uid in enumerate(abstract_syntaxes)
    )
    user = item(0x51, struct.pack(">L", 16_384)) + item(0x52, b"1.2.3.4") + item(0x55, b"HOSTILE")
    titles = called.encode().ljust(16) + calling.encode().ljust(16) + bytes(32)
    head = struct.pack(">HH", 1, 0) + titles + item(0x10, b"1.2.840.10008.3.1.1.1")
    return pdu(1, head + contexts + item(0x50, user))


def data(fragment: bytes, *, command: bool, last: bool = True, context: int = 1) -> bytes:
    """Return a P-DATA with one fragment."""
    value = bytes([context, command | last << 1]) + fragment
    return pdu(4, struct.pack(">L", len(value)) + value)


def command_set(**elements: int | str) -> bytes:
    """Return a command set (PS3.7 E.1); numbers are US."""
    body = b""
    for keyword, number in _COMMAND.items():
        if keyword in elements:
            given = elements[keyword]
            value = struct.pack("<H", given) if isinstance(given, int) else _even(given.encode())
            body += struct.pack("<HHL", 0, number, len(value)) + value
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


_COMMAND: Final = {
    "sop_class": 0x0002, "command": 0x0100, "message_id": 0x0110, "priority": 0x0700, "data_set": 0x0800,
    "sop_instance": 0x1000,
}  # fmt: skip


def find_request(identifier: bytes) -> list[bytes]:
    """Return the PDUs of an association that asks once at Study Root: request, command, Identifier."""
    command = command_set(sop_class=FIND_STUDY_ROOT, command=0x0020, message_id=1, priority=0, data_set=1)
    return [associate_request([FIND_STUDY_ROOT]), data(command, command=True), data(identifier, command=False)]


def store_request(data_set: bytes, sop_class: str, sop_instance: str) -> list[bytes]:
    """Return the PDUs of an association that stores one object."""
    command = command_set(
        sop_class=sop_class, command=0x0001, message_id=1, priority=0, data_set=1, sop_instance=sop_instance
    )
    pieces = [data_set[at : at + 16_000] for at in range(0, len(data_set), 16_000)] or [b""]
    sent = [data(piece, command=False, last=n == len(pieces) - 1) for n, piece in enumerate(pieces)]
    return [associate_request([sop_class]), data(command, command=True), *sent]


def echo_request() -> list[bytes]:
    command = command_set(sop_class=VERIFICATION, command=0x0030, message_id=1, data_set=0x0101)
    return [associate_request([VERIFICATION]), data(command, command=True)]


def mutated_pdus(pdus: list[bytes], seed: int) -> list[bytes]:
    """Return the PDUs with one to three faults; the same seed gives the same."""
    chance = random.Random(seed)
    found = list(pdus)
    for _ in range(chance.choice((1, 1, 2, 3))):
        found = chance.choice(_FAULTS)(found, chance) or [b""]
    return found


def split_pdus(stream: bytes) -> list[bytes]:
    """Return the PDUs of a stream of bytes by their lengths; what is left, or no PDU at all, is the last one."""
    found, at = [], 0
    while at < len(stream):
        length = 6 + int.from_bytes(stream[at + 2 : at + 6], "big") if at + 6 <= len(stream) else len(stream)
        found.append(stream[at : at + length])
        at += length
    return found or [b""]


def talk(port: int, stream: bytes, timeout_s: float) -> bytes:
    """Send a stream at once, hang up, and return all that the node says until it hangs up too.

    Raises `TimeoutError` where it does not for so long.
    """
    heard = b""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        try:
            connection.sendall(stream)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65_536):
                heard += piece
        except TimeoutError:
            raise
        except OSError:  # it has hung up: on such bytes it may
            pass
    return heard


def exchange(port: int, pdus: list[bytes], timeout_s: float, *, patient: bool = False) -> bytes:
    """Send PDUs one after the other, abort, and return all that the node says until it hangs up.

    `patient`: the PDUs are well-formed, so that an answer to the first and the last of them is waited for. Raises
    `TimeoutError` where the node says nothing, or does not hang up, for so long.
    """
    moment = timeout_s if patient else 0.05
    heard = b""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        try:
            for n, one in enumerate(pdus):
                connection.sendall(one)
                if n in (0, len(pdus) - 1):
                    heard += _heard(connection, moment if n else max(moment, 1.0), must=patient)
            connection.sendall(ABORT)
            connection.shutdown(socket.SHUT_WR)
            while piece := _heard(connection, timeout_s, must=True):
                heard += piece
        except TimeoutError:
            raise
        except OSError:  # it has hung up: on such bytes it may
            pass
    return heard


def _heard(connection: socket.socket, seconds: float, *, must: bool) -> bytes:
    """Return what is said next, nothing at the end. Raises `TimeoutError` where nothing is said and something must."""
    connection.settimeout(seconds)
    try:
        return connection.recv(65_536)
    except TimeoutError:
        if must:
            raise
        return b""


Fault = Callable[[list[bytes], random.Random], list[bytes]]


def _flip(pdus: list[bytes], chance: random.Random) -> list[bytes]:
    def flipped(one: bytearray) -> None:
        for _ in range(chance.randint(1, 6)):
            one[chance.randrange(len(one))] ^= 1 << chance.randrange(8)

    return _changed(pdus, chance, flipped)


def _header(pdus: list[bytes], chance: random.Random) -> list[bytes]:
    """Change a field of the PDU's own header."""

    def with_header(one: bytearray) -> None:
        one[0] = chance.choice((*range(9), one[0], one[0], one[0], 0xFF))
        if len(one) >= 6:
            one[2:6] = struct.pack(">L", chance.choice(_LENGTHS))

    return _changed(pdus, chance, with_header)


def _inner_length(pdus: list[bytes], chance: random.Random) -> list[bytes]:
    """Write an absurd length somewhere inside, of 2 bytes (items) or 4 (fragments)."""

    def with_length(one: bytearray) -> None:
        at = chance.randrange(6, max(7, len(one) - 4))
        length = chance.choice(_LENGTHS)
        one[at : at + 4] = struct.pack(">L", length) if chance.random() < 0.4 else struct.pack(">H", length & 0xFFFF)

    return _changed(pdus, chance, with_length)


def _first_item_length(pdus: list[bytes], chance: random.Random) -> list[bytes]:
    """Lie about the length of the first item: of the application context, or of the fragment."""

    def with_length(one: bytearray) -> None:
        if one[0] == 1 and len(one) > 78:
            one[76:78] = struct.pack(">H", chance.choice(_LENGTHS) & 0xFFFF)
        elif len(one) > 10:
            one[6:10] = struct.pack(">L", chance.choice(_LENGTHS))

    return _changed(pdus, chance, with_length)


def _end_early(pdus: list[bytes], chance: random.Random) -> list[bytes]:
    n = chance.randrange(len(pdus))
    return [*pdus[:n], pdus[n][: chance.randrange(len(pdus[n]) + 1)]]


def _longer(pdus: list[bytes], chance: random.Random) -> list[bytes]:
    n = chance.randrange(len(pdus))
    return [*pdus[:n], pdus[n] + chance.randbytes(chance.randint(1, 200)), *pdus[n + 1 :]]


def _other_order(pdus: list[bytes], chance: random.Random) -> list[bytes]:
    found = pdus * chance.choice((1, 2, 3))
    chance.shuffle(found)
    return found


def _between(pdus: list[bytes], chance: random.Random) -> list[bytes]:
    """Put in another PDU, well-formed or not."""
    unknown = pdu(chance.randrange(256), chance.randbytes(20))
    other = chance.choice((RELEASE, pdu(6, bytes(4)), pdu(2, bytes(68)), pdu(3, bytes(4)), unknown))
    n = chance.randrange(len(pdus) + 1)
    return [*pdus[:n], other, *pdus[n:]]


def _random_body(pdus: list[bytes], chance: random.Random) -> list[bytes]:
    n = chance.randrange(len(pdus))
    body = chance.randbytes(chance.choice((0, 1, 6, 68, 300, 5000)))
    return [*pdus[:n], pdu(pdus[n][0] if pdus[n] else 1, body), *pdus[n + 1 :]]


def _noise(pdus: list[bytes], chance: random.Random) -> list[bytes]:
    return [chance.choice((b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00", chance.randbytes(1000), bytes(1000)))]


def _fragment(pdus: list[bytes], chance: random.Random) -> list[bytes]:
    """Change context and control header of a fragment (PS3.8 E.2)."""

    def with_header(one: bytearray) -> None:
        if one[0] == 4 and len(one) > 11:
            one[10], one[11] = chance.choice((0, 1, 2, 3, 255)), chance.choice((0, 1, 2, 3, 4, 255))

    return _changed(pdus, chance, with_header)


_FAULTS: Final[tuple[Fault, ...]] = (
    *(_flip, _flip, _header, _inner_length, _inner_length, _first_item_length, _end_early, _longer, _other_order),
    *(_between, _random_body, _noise, _fragment),
)


def _changed(pdus: list[bytes], chance: random.Random, change: Callable[[bytearray], None]) -> list[bytes]:
    n = chance.randrange(len(pdus))
    one = bytearray(pdus[n])
    if one:
        change(one)
    return [*pdus[:n], bytes(one), *pdus[n + 1 :]]


def _even(value: bytes) -> bytes:
    return value + b"\0" * (len(value) % 2)
