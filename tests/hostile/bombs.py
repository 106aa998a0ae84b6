"""Objects of a few kilobytes that want gigabytes, hours or a deep stack, and UIDs that want another folder."""

import struct
import zlib
from collections.abc import Callable, Iterator

from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from regionmir.storage.part10 import file_head
from tests.support.dicom import CR, encoded, radiograph
from tests.support.films import synthetic_uid

SIDE = 60_000
"""Rows and columns of what the bombs declare: 7.2 GB of pixels."""


def bombs() -> Iterator[tuple[str, bytes]]:
    """Give all Part 10 files with their names."""
    for name, make in BOMBS.items():
        yield name, make()


def part10(body: bytes, syntax: str, *, sop_class: str = CR, uid: str = "") -> bytes:
    """Return a data set's bytes as a Part 10 file, whatever they are."""
    uid = uid or synthetic_uid("bomb", body[:4096])
    return file_head(sop_class_uid=sop_class, sop_instance_uid=uid, transfer_syntax_uid=syntax) + body


def of_frame(frame: bytes, syntax: UID, *, side: int, **values: object) -> bytes:
    """Return a radiograph of `side` x `side` whose compressed frame is this."""
    film = radiograph(BodyPartExamined="CHEST", ViewPosition="PA", **values)
    film.SOPInstanceUID = synthetic_uid("bomb", frame, side)
    film.Rows = film.Columns = side
    film.PixelData = encapsulate([frame])
    film["PixelData"].VR = "OB"
    film["PixelData"].is_undefined_length = True
    return part10(encoded(film), syntax, uid=film.SOPInstanceUID)


def jpeg(side: int, start_of_frame: int = 0xC0, *, bits: int = 8) -> bytes:
    """Return a JPEG of `side` x `side` whose scan is empty: a decoder that believes it fills in the rest."""
    tables = b"\xff\xdb\x00\x43\x00" + bytes([1] * 64)
    huffman = b"\xff\xc4\x00\x1f\x00" + bytes([0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0]) + bytes(range(12))
    frame = struct.pack(
        ">BBHBHHBBBB", 0xFF, start_of_frame, 11, bits, min(side, 0xFFFF), min(side, 0xFFFF), 1, 1, 0x11, 0
    )
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + bytes(64)
    return b"\xff\xd8" + tables + frame + huffman + scan + b"\xff\xd9"


def jpeg_2000(side: int, tile: int | None = None, *, components: int = 1) -> bytes:
    """Return a JPEG 2000 codestream of `side` x `side`, in one tile or in many, none of which has data."""
    tile = tile or side
    size = struct.pack(">HHIIIIIIIIH", 38 + 3 * components, 0, side, side, 0, 0, tile, tile, 0, 0, components)
    size += bytes([15, 1, 1]) * components
    style = b"\xff\x52\x00\x0c\x00\x00\x00\x01\x00\x05\x04\x04\x00\x01"
    steps = b"\xff\x5c\x00\x13\x40" + bytes([0x40] * 16)
    part = b"\xff\x90\x00\x0a\x00\x00\x00\x00\x00\x0e\x00\x01\xff\x93"
    return b"\xff\x4f\xff\x51" + size + style + steps + part + b"\xff\xd9"


def rle(segments: int, runs: int) -> bytes:
    """Return an RLE frame in which every two bytes stand for 128."""
    one = b"\x81\x00" * runs
    offsets = [64 + n * len(one) for n in range(segments)]
    return struct.pack("<16L", segments, *offsets, *[0] * (15 - segments)) + one * segments


def deflated(megabytes: int) -> bytes:
    """Return a deflated data set whose Pixel Data is `megabytes` of zeros."""
    film = radiograph(size=8, BodyPartExamined="CHEST", ViewPosition="PA")
    film.SOPInstanceUID = synthetic_uid("deflated", megabytes)
    film.Rows = film.Columns = SIDE
    del film.PixelData
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    body = packer.compress(encoded(film) + struct.pack("<HH2sHL", 0x7FE0, 0x10, b"OW", 0, megabytes << 20))
    body += packer.flush(zlib.Z_FULL_FLUSH)
    body += (packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)) * megabytes + packer.flush()
    return part10(body + bytes(len(body) % 2), DeflatedExplicitVRLittleEndian, uid=film.SOPInstanceUID)


def deep(levels: int, *, defined: bool, tag: tuple[int, int] = (0x0040, 0xA730), sop_class: str = CR) -> bytes:
    """Return an object with sequences in sequences (Content Sequence by default), of defined or undefined length."""
    value = b""
    for _ in range(levels):
        length = len(value)
        item = struct.pack("<HHL", 0xFFFE, 0xE000, length if defined else 0xFFFFFFFF) + value
        item += b"" if defined else struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
        value = struct.pack("<HH2sHL", *tag, b"SQ", 0, len(item) if defined else 0xFFFFFFFF) + item
        value += b"" if defined else struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    uid = synthetic_uid("deep", levels, defined, tag, sop_class)
    head = radiograph(SOPInstanceUID=uid, SOPClassUID=sop_class, BodyPartExamined="CHEST")
    del head.PixelData
    before = Dataset({t: head[t] for t in head.keys() if t < (tag[0] << 16 | tag[1])})  # noqa: SIM118
    after = Dataset({t: head[t] for t in head.keys() if t > (tag[0] << 16 | tag[1])})  # noqa: SIM118
    return part10(encoded(before) + value + encoded(after), ExplicitVRLittleEndian, sop_class=sop_class, uid=uid)


def wide(items: int) -> bytes:
    """Return a report with very many empty items of content."""
    value = struct.pack("<HHL", 0xFFFE, 0xE000, 0) * items
    head = radiograph(SOPInstanceUID=synthetic_uid("wide", items), SOPClassUID=COMPREHENSIVE_SR)
    del head.PixelData
    body = encoded(head) + struct.pack("<HH2sHL", 0x0040, 0xA730, b"SQ", 0, len(value)) + value
    return part10(body, ExplicitVRLittleEndian, sop_class=COMPREHENSIVE_SR, uid=head.SOPInstanceUID)


def long_element(length: int, vr: bytes = b"OB", tag: tuple[int, int] = (0x0008, 0x9999)) -> bytes:
    """Return an object with an element that claims `length` bytes and has four."""
    head = radiograph(SOPInstanceUID=synthetic_uid("long", length, vr, tag))
    body = encoded(head) + struct.pack("<HH2sHL", *tag, vr, 0, length) + b"four"
    return part10(body, ExplicitVRLittleEndian, uid=head.SOPInstanceUID)


def many_frames(frames: int) -> bytes:
    """Return an object that declares very many frames and has one."""
    film = radiograph(SOPInstanceUID=synthetic_uid("frames", frames), BodyPartExamined="CHEST")
    film.add_new("NumberOfFrames", "IS", str(frames))
    return part10(encoded(film), ExplicitVRLittleEndian, uid=film.SOPInstanceUID)


def long_lookup_table() -> bytes:
    """Return a film whose VOI LUT says that it has all entries, and has three."""
    film = radiograph(SOPInstanceUID=synthetic_uid("table"), BodyPartExamined="CHEST", ViewPosition="PA")
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [0, 0, 16], b"\0\1\2\3\4\5"
    table["LUTData"].VR = "OW"
    film.VOILUTSequence = [table]
    return part10(encoded(film), ExplicitVRLittleEndian, uid=film.SOPInstanceUID)


def png_bomb(side: int = SIDE) -> bytes:
    """Return a PNG of `side` x `side` grey pixels, all of them zero."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))

    rows, step = bytes(((side + 7) // 8 + 1) * side), 1 << 20
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    block = packer.compress(rows[:step]) + packer.flush(zlib.Z_FULL_FLUSH)
    rest = packer.compress(rows[: len(rows) % step]) + packer.flush()
    checksum = struct.pack(">L", len(rows) % 65521 << 16 | 1)  # Adler-32 of zeros
    packed = b"\x78\xda" + block * (len(rows) // step) + rest + checksum
    head = struct.pack(">LLBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"
_ALLOWED_SIDE = 9_900
"""Just below the limit of pixels, so that a decoder is reached."""

BOMBS: dict[str, Callable[[], bytes]] = {
    "JPEG of 60,000 x 60,000": lambda: of_frame(jpeg(SIDE), JPEGBaseline8Bit, side=SIDE),
    "JPEG of 60,000 x 60,000 declared small": lambda: of_frame(jpeg(SIDE), JPEGBaseline8Bit, side=64),
    "JPEG of as many pixels as allowed": lambda: of_frame(
        jpeg(_ALLOWED_SIDE), JPEGBaseline8Bit, side=_ALLOWED_SIDE, BitsAllocated=8, BitsStored=8, HighBit=7
    ),
    "lossless JPEG of 60,000 x 60,000": lambda: of_frame(jpeg(SIDE, 0xC3, bits=16), JPEGLosslessSV1, side=SIDE),
    "JPEG-LS of 60,000 x 60,000": lambda: of_frame(jpeg(SIDE, 0xF7), JPEGLSLossless, side=SIDE),
    "JPEG 2000 of 60,000 x 60,000": lambda: of_frame(jpeg_2000(SIDE), JPEG2000Lossless, side=SIDE),
    "JPEG 2000 of 60,000 x 60,000 declared small": lambda: of_frame(jpeg_2000(SIDE), JPEG2000Lossless, side=64),
    "JPEG 2000 of as many pixels as allowed": lambda: of_frame(
        jpeg_2000(_ALLOWED_SIDE), JPEG2000Lossless, side=_ALLOWED_SIDE
    ),
    "JPEG 2000 in tiles of one pixel": lambda: of_frame(jpeg_2000(2_000, 1), JPEG2000Lossless, side=2_000),
    "JPEG 2000 with 16,384 components": lambda: of_frame(
        jpeg_2000(2_000, components=16_384), JPEG2000Lossless, side=2_000
    ),
    "RLE that expands too far": lambda: of_frame(rle(2, 4_000), RLELossless, side=64),
    "RLE of as many pixels as allowed": lambda: of_frame(rle(2, 4_000), RLELossless, side=_ALLOWED_SIDE),
    "deflated 1 GiB": lambda: deflated(1024),
    "2,000 sequences in each other": lambda: deep(2_000, defined=False),
    "1,000 sequences of defined length in each other": lambda: deep(1_000, defined=True),
    "a report of 60 levels": lambda: deep(60, defined=False, sop_class=COMPREHENSIVE_SR),
    "a report of 1,000 levels": lambda: deep(1_000, defined=True, sop_class=COMPREHENSIVE_SR),
    "a deep Anatomic Region Sequence": lambda: deep(1_000, defined=True, tag=(0x0008, 0x2218)),
    "a report of 300,000 items": lambda: wide(300_000),
    "an element of 4 GB": lambda: long_element(0xFFFFFFF0),
    "an element that ends behind the file": lambda: long_element(1000, b"UT"),
    "a sequence of 4 GB": lambda: long_element(0xFFFFFFF0, b"SQ", (0x0040, 0xA730)),
    "2,147,483,647 frames": lambda: many_frames(2**31 - 1),
    "99,999 frames": lambda: many_frames(99_999),
    "a lookup table that lacks its entries": long_lookup_table,
}

PATH_UIDS = (
    "../../../../etc/passwd",
    "1.2.3/../../4",
    "1.2.3\\..\\4",
    "/etc/passwd",
    "1.2.3\x00.dcm",
    "1.2.3\n",
    "..",
    ".",
    "1..2",
    "1.2.",
    "%2e%2e%2f1",
    "1.2.3;rm -rf /",
    "1.2.3' OR '1'='1",
    "١.٢.٣",
    "1" * 65,
    "",
)
"""What must never become a UID, hence never a part of a path or a statement."""
