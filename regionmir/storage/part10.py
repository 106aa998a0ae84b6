"""The head of a stored object: preamble and file meta information of our own (PS3.10 7.1)."""

import struct

from regionmir.core.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

PREAMBLE = bytes(128) + b"DICM"
_AE_BYTES = 16
"""Of a title with its trailing spaces, which say nothing (PS3.5 6.2): a resend by another AE has a head as long."""

HEAD_BYTES = 144
"""What `dataset_offset` needs: the preamble and the length of the meta group."""

_GROUP_LENGTH = struct.Struct("<HH2sHL")


def file_head(
    *, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, source_ae: str | None = None
) -> bytes:
    """Return everything before the data set; the data set's bytes follow as they came."""
    elements = [
        _element(0x0001, b"OB", b"\x00\x01"),
        _element(0x0002, b"UI", _padded(sop_class_uid, b"\0")),
        _element(0x0003, b"UI", _padded(sop_instance_uid, b"\0")),
        _element(0x0010, b"UI", _padded(transfer_syntax_uid, b"\0")),
        _element(0x0012, b"UI", _padded(IMPLEMENTATION_CLASS_UID, b"\0")),
        _element(0x0013, b"SH", _padded(IMPLEMENTATION_VERSION_NAME, b" ")),
    ]
    if source_ae:
        elements.append(_element(0x0016, b"AE", _padded(source_ae.ljust(_AE_BYTES), b" ")))
    meta = b"".join(elements)
    return PREAMBLE + _element(0x0000, b"UL", struct.pack("<L", len(meta))) + meta


def dataset_offset(head: bytes) -> int:
    """Return where the data set of a Part 10 file begins, from its first `HEAD_BYTES`. Raises `ValueError`."""
    if len(head) < HEAD_BYTES or head[128:132] != b"DICM":
        raise ValueError("no Part 10 file")
    group, element, _, _, length = _GROUP_LENGTH.unpack_from(head, 132)
    if (group, element) != (0x0002, 0x0000):
        raise ValueError("the meta group has no length")
    return HEAD_BYTES + int(length)


def _element(number: int, vr: bytes, value: bytes) -> bytes:
    """Return (0002,number) in Explicit VR Little Endian."""
    if vr == b"OB":
        return struct.pack("<HH2sHL", 2, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", 2, number, vr, len(value)) + value


def _padded(text: str, pad: bytes) -> bytes:
    value = text.encode("ascii", "replace")
    return value + pad if len(value) % 2 else value
