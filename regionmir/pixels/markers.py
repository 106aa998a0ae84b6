"""A compressed frame without what else it carries: comments, application data, bytes behind its end.

Only whole marker segments go; the entropy-coded data are copied as they are, so the pixels stay the same.
"""

import struct
from collections.abc import Iterator
from typing import Final

from pydicom.uid import UID

from regionmir.core.errors import BrokenImage, UnsupportedImage
from regionmir.pixels.codestream import JPEG, JPEG_2000

_EOI, _SOS = 0xD9, 0xDA
_RESTARTS = frozenset(range(0xD0, 0xD8))
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC8} | {0xF7, 0xF8}
"""SOFn, DHT, DAC (ISO 10918-1 B.1), SOF55 and LSE of JPEG-LS (ISO 14495-1 C.1)."""
_TABLE_MARKERS = frozenset((0xDB, 0xDC, 0xDD, 0xDE, 0xDF))
"""DQT, DNL, DRI, DHP, EXP."""

_JFIF: Final = b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0"
"""APP0 with neither density nor thumbnail: it tells decoders that the colours are YCbCr (ISO 10918-5)."""

_SOT, _SOD, _EOC, _COM, _TLM = 0xFF90, 0xFF93, 0xFFD9, 0xFF64, 0xFF55


def without_metadata(frame: bytes, transfer_syntax: UID) -> bytes:
    """Return a JPEG, JPEG-LS, JPEG 2000 or HTJ2K frame that decodes to the same samples and holds nothing else.

    Raises `BrokenImage` where its segments do not add up, `UnsupportedImage` for any other transfer syntax.
    """
    try:
        if transfer_syntax in JPEG:
            return b"".join(_jpeg_parts(frame))
        if transfer_syntax in JPEG_2000:
            return _jpeg_2000(frame)
    except (struct.error, IndexError):
        raise BrokenImage("pixel data short", "codestream ends in a segment") from None
    raise UnsupportedImage("transfer syntax", "frames of this kind cannot be cleaned")


def _jpeg_parts(frame: bytes) -> Iterator[bytes]:
    """Give the parts of a JPEG or JPEG-LS stream that are kept (ISO 10918-1 B.1.1, ISO 14495-1 C.1.1)."""
    if frame[:2] != b"\xff\xd8":
        raise BrokenImage("not the declared compression", "no JPEG codestream")
    yield frame[:2]
    position = 2
    while True:
        while frame[position : position + 2] == b"\xff\xff":  # fill bytes
            position += 1
        if frame[position] != 0xFF:
            raise BrokenImage("pixel data damaged", "JPEG marker expected")
        marker = frame[position + 1]
        if marker == _EOI:
            yield frame[position : position + 2]
            return
        (length,) = struct.unpack_from(">H", frame, position + 2)
        end = position + 2 + length
        if length < 2 or end > len(frame):
            raise BrokenImage("pixel data short", "codestream ends in a segment")
        yield _kept_segment(marker, frame[position + 4 : end])
        position = end
        if marker == _SOS:
            end = _end_of_scan(frame, position)
            yield frame[position:end]
            position = end


def _kept_segment(marker: int, content: bytes) -> bytes:
    """Return the segment as it is kept: whole, reduced to what decoding needs, or nothing."""
    if marker == _SOS or marker in _FRAME_MARKERS or marker in _TABLE_MARKERS:
        return _segment(marker, content)
    if marker == 0xE0 and content.startswith(b"JFIF\0"):
        return _segment(marker, _JFIF)
    if marker == 0xEE and content.startswith(b"Adobe") and len(content) >= 12:
        return _segment(marker, b"Adobe\0\x64\0\0\0\0" + content[11:12])  # its last byte is the colour transform
    if marker == 0xE8 and content.startswith(b"mrfx") and len(content) == 5:
        return _segment(marker, content)  # JPEG-LS: HP's colour transform
    if marker == 0xFE or 0xE0 <= marker <= 0xEF or 0xF0 <= marker <= 0xFD:
        return b""
    raise BrokenImage("pixel data damaged", "unknown JPEG marker")


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _end_of_scan(frame: bytes, position: int) -> int:
    """Return where the entropy-coded data end: at a marker that is no restart (after FF, data bytes are below 80H)."""
    while True:
        position = frame.find(b"\xff", position)
        if position < 0 or position + 1 >= len(frame):
            raise BrokenImage("pixel data short", "JPEG codestream without its end")
        following = frame[position + 1]
        if following >= 0x80 and following not in _RESTARTS and following != 0xFF:
            return position
        position += 1 if following == 0xFF else 2


def _jpeg_2000(frame: bytes) -> bytes:
    """Return the raw codestream, without a wrapper before it, without COM (ISO 15444-1 A.9.2)."""
    start = frame.find(b"\xff\x4f\xff\x51", 0, 1 << 16)
    if start < 0:
        raise BrokenImage("not the declared compression", "no JPEG 2000 codestream")
    position, header = _kept_header(frame, start + 2, end_marker=_SOT)
    tiles, shortened = [], False
    while _marker(frame, position) == _SOT:
        position, tile, changed = _tile_part(frame, position)
        tiles.append(tile)
        shortened = shortened or changed
    if _marker(frame, position) != _EOC:
        raise BrokenImage("pixel data damaged", "JPEG 2000 codestream without its end")
    if shortened:  # the optional list of tile-part lengths would be wrong
        header = [(marker, segment) for marker, segment in header if marker != _TLM]
    return b"".join([b"\xff\x4f", *(segment for _, segment in header), *tiles, b"\xff\xd9"])


def _kept_header(frame: bytes, position: int, *, end_marker: int) -> tuple[int, list[tuple[int, bytes]]]:
    """Return where `end_marker` stands and the segments before it but for comments."""
    kept = []
    while (marker := _marker(frame, position)) != end_marker:
        if not 0xFF30 <= marker <= 0xFFFF:
            raise BrokenImage("pixel data damaged", "JPEG 2000 marker expected")
        (length,) = struct.unpack_from(">H", frame, position + 2)
        if length < 2:
            raise BrokenImage("pixel data damaged", "JPEG 2000 segment without length")
        end = position + 2 + length
        if marker != _COM:
            kept.append((marker, frame[position:end]))
        position = end
    return position, kept


def _tile_part(frame: bytes, position: int) -> tuple[int, bytes, bool]:
    """Return where the tile-part ends, the tile-part without comments, and whether it had any (A.4.2)."""
    tile, length, part, parts = struct.unpack_from(">HIBB", frame, position + 4)
    end = position + length if length else _last_end(frame)
    data, kept = _kept_header(frame, position + 12, end_marker=_SOD)
    if not data < end <= len(frame):
        raise BrokenImage("pixel data damaged", "JPEG 2000 tile-part of a wrong length")
    body = b"".join(segment for _, segment in kept) + frame[data:end]
    start = struct.pack(">HHHIBB", _SOT, 10, tile, 12 + len(body) if length else 0, part, parts)
    return end, start + body, length not in (0, 12 + len(body))


def _last_end(frame: bytes) -> int:
    """Return where the last tile-part ends that does not say how long it is: at the end of the codestream."""
    end = frame.rfind(b"\xff\xd9")
    if end < 0:
        raise BrokenImage("pixel data short", "JPEG 2000 codestream without its end")
    return end


def _marker(frame: bytes, position: int) -> int:
    (marker,) = struct.unpack_from(">H", frame, position)
    return int(marker)
