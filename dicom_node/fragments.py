"""Fragments of messages as they lie in a P-DATA-TF PDU (PS3.8 9.3.5): read where they are, without copies."""

from typing import Final

HEAD_BYTES: Final = 6
"""PDU type, a reserved byte and the length of what follows."""

P_DATA_TF: Final = 0x04

_ITEM_HEAD_BYTES: Final = 5
_LEAST_ITEM_BYTES: Final = 2
"""Presentation context ID and message control header."""

Fragment = tuple[int, memoryview]
"""A presentation data value: its presentation context ID; the message control header and what follows it."""


def fragments_of(body: memoryview) -> list[Fragment] | None:
    """Return the presentation data values of a P-DATA-TF's variable field; None where it is malformed."""
    found, at = [], 0
    while at < len(body):
        length = int.from_bytes(body[at : at + 4], "big")
        end = at + 4 + length
        if length < _LEAST_ITEM_BYTES or end > len(body):
            return None
        found.append((body[at + 4], body[at + _ITEM_HEAD_BYTES : end]))
        at = end
    return found


def pdu(context_id: int, control: int, content: bytes) -> bytes:
    """Return a P-DATA-TF PDU with one presentation data value."""
    length = _LEAST_ITEM_BYTES + len(content)
    head = bytes((P_DATA_TF, 0)) + (4 + length).to_bytes(4, "big") + length.to_bytes(4, "big")
    return head + bytes((context_id, control)) + content
