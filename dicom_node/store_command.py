"""The command of a C-STORE and its usual answer, without pynetdicom's data sets and primitives (PS3.7 9.3.1, E.1).

What is not exactly the command that everybody sends is None here and takes pynetdicom's way.
"""

import struct
from dataclasses import dataclass
from typing import Final

from regionmir.archive.arrival import Arrival
from regionmir.core.errors import InvalidUid
from regionmir.core.identifiers import Uid, parse_uid

LAST_OF_COMMAND: Final = 0b11
"""Message control header of a command in one fragment (PS3.8 E.2)."""

_HEAD: Final = struct.Struct("<HHL")
_LENGTH, _CLASS, _FIELD, _MESSAGE, _ANSWERED = 0x0000, 0x0002, 0x0100, 0x0110, 0x0120
_PRIORITY, _DATA_SET, _STATUS, _INSTANCE = 0x0700, 0x0800, 0x0900, 0x1000
_ORIGINATOR, _ORIGINATORS_MESSAGE = 0x1030, 0x1031
"""Elements of group 0000."""

_REQUIRED: Final = frozenset({_CLASS, _FIELD, _MESSAGE, _DATA_SET, _INSTANCE})
_SIZES: Final = {_LENGTH: 4, _FIELD: 2, _MESSAGE: 2, _PRIORITY: 2, _DATA_SET: 2, _ORIGINATORS_MESSAGE: 2}
_TEXTS: Final = frozenset({_CLASS, _INSTANCE, _ORIGINATOR})
_REQUEST, _RESPONSE, _NO_DATA_SET = b"\x01\x00", b"\x01\x80", b"\x01\x01"


@dataclass(frozen=True, slots=True)
class StoreCommand:
    """What a C-STORE-RQ says of the instance that follows it."""

    message_id: int
    sop_class_uid: Uid
    sop_instance_uid: Uid


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """A C-STORE-RQ whose data set has arrived."""

    command: StoreCommand
    arrival: Arrival


def store_command(data: bytes) -> StoreCommand | None:
    """Return the C-STORE-RQ that a whole command set is, None for any other and for one with anything unusual in it."""
    found: dict[int, bytes] = {}
    at, before = 0, -1
    while at < len(data):
        if len(data) - at < _HEAD.size:
            return None
        group, number, length = _HEAD.unpack_from(data, at)
        value = data[at + _HEAD.size : at + _HEAD.size + length]
        known = number in _TEXTS or _SIZES.get(number) == length
        if group or number <= before or not known or len(value) < length:
            return None
        found[number] = value
        at, before = at + _HEAD.size + length, number
    if not found.keys() >= _REQUIRED or found[_FIELD] != _REQUEST or found[_DATA_SET] == _NO_DATA_SET:
        return None
    try:
        sop_class_uid, sop_instance_uid = (
            parse_uid(found[tag].decode("ascii").rstrip("\0")) for tag in (_CLASS, _INSTANCE)
        )
    except (InvalidUid, UnicodeDecodeError):
        return None
    return StoreCommand(int.from_bytes(found[_MESSAGE], "little"), sop_class_uid, sop_instance_uid)


def response(command: StoreCommand, status: int) -> bytes:
    """Return the command set of a C-STORE-RSP without a comment."""
    elements = b"".join(
        (
            _element(_CLASS, _padded(command.sop_class_uid)),
            _element(_FIELD, _RESPONSE),
            _element(_ANSWERED, command.message_id.to_bytes(2, "little")),
            _element(_DATA_SET, _NO_DATA_SET),
            _element(_STATUS, status.to_bytes(2, "little")),
            _element(_INSTANCE, _padded(command.sop_instance_uid)),
        )
    )
    return _element(_LENGTH, len(elements).to_bytes(4, "little")) + elements


def _element(number: int, value: bytes) -> bytes:
    return _HEAD.pack(0, number, len(value)) + value


def _padded(uid: Uid) -> bytes:
    value = uid.encode("ascii")
    return value + b"\0" if len(value) % 2 else value
