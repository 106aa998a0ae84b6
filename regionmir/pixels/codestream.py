"""What a compressed frame says of itself, read from its header alone: a bomb is refused before it is decoded."""

import struct
from dataclasses import dataclass

from pydicom.uid import UID, JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes, JPEGTransferSyntaxes, RLELossless

from regionmir.core.errors import BrokenImage

HTJ2K_TRANSFER_SYNTAXES = (
    UID("1.2.840.10008.1.2.4.201"),
    UID("1.2.840.10008.1.2.4.202"),
    UID("1.2.840.10008.1.2.4.203"),
)
JPEG_2000 = frozenset((*JPEG2000TransferSyntaxes, *HTJ2K_TRANSFER_SYNTAXES))
JPEG = frozenset((*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes))
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD9)))


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """Rows, columns, samples per pixel and bits per sample as the codestream declares them."""

    rows: int
    columns: int
    samples: int
    bits: int


def read_frame_header(frame: bytes, transfer_syntax: UID) -> FrameHeader | None:
    """Return the header of a compressed frame, or None for a syntax without one (RLE).

    Raises `BrokenImage` where it has none, or where a JPEG frame lacks its end: decoders fill what is missing.
    """
    if not frame:
        raise BrokenImage("pixel data short", "empty frame")
    try:
        if transfer_syntax in JPEG_2000:
            return _jpeg2000(frame)
        if transfer_syntax in JPEG:
            return _jpeg(frame)
    except (struct.error, IndexError):
        raise BrokenImage("pixel data short", "codestream ends in its header") from None
    if transfer_syntax == RLELossless and len(frame) < 64:
        raise BrokenImage("pixel data short", "RLE header")
    return None


def _jpeg2000(frame: bytes) -> FrameHeader:
    """ISO 15444-1 A.5.1: SIZ follows SOC; a JP2 wrapper before it is not allowed in DICOM, yet occurs."""
    start = frame.find(b"\xff\x4f\xff\x51", 0, 4096)
    if start < 0:
        raise BrokenImage("not the declared compression", "no JPEG 2000 codestream")
    width, height, left, top = struct.unpack_from(">4I", frame, start + 8)
    samples, depth = struct.unpack_from(">HB", frame, start + 40)
    return FrameHeader(height - top, width - left, samples, (depth & 0x7F) + 1)


def _jpeg(frame: bytes) -> FrameHeader:
    """ISO 10918-1 B.2.2 and ISO 14495-1 C.2.2: the first start-of-frame segment."""
    if frame[:2] != b"\xff\xd8":
        raise BrokenImage("not the declared compression", "no JPEG codestream")
    if b"\xff\xd9" not in frame[-64:]:
        raise BrokenImage("pixel data short", "JPEG codestream without its end")
    position = 2
    while True:
        if frame[position] != 0xFF:
            raise BrokenImage("pixel data damaged", "JPEG marker expected")
        marker = frame[position + 1]
        if marker == 0xFF:
            position += 1
        elif marker in _WITHOUT_LENGTH:
            position += 2
        elif marker in _START_OF_FRAME:
            bits, rows, columns, samples = struct.unpack_from(">BHHB", frame, position + 4)
            return FrameHeader(rows, columns, samples, bits)
        else:
            (length,) = struct.unpack_from(">H", frame, position + 2)
            position += 2 + length
