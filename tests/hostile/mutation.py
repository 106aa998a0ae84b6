"""Breaks objects where readers trust them: in the headers of elements, the values that size things, the nesting.

A mutation knows the structure (PS3.5 7.1): it finds the elements of a data set, nested ones too, and changes one. The
same seed gives the same bytes.
"""

import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

_LONG_VRS: Final = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
_ALL_VRS: Final = (
    *sorted(_LONG_VRS),
    *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS"),
    *(b"ST", b"TM", b"UI", b"UL", b"US", b"\0\0", b"??"),
)
_LENGTHS: Final = (0, 1, 2, 3, 7, 0xFF, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)
_NUMBERS: Final = (0, 1, 2, 3, 7, 8, 12, 16, 17, 32, 64, 255, 256, 4096, 32767, 32768, 65534, 65535)
_TEXTS: Final = (
    b"", b" ", b"\\", b"\\" * 2000, b"*", b"?" * 1000, b"\0", b"0", b"-1", b"1e309", b"-1e-309", b"nan", b"inf",
    b"2147483648", b"99999999999999999999", b"00000000", b"20261350", b"ISO 2022 IR 87\\ISO 2022 IR 159", b"GB18030",
    b"ISO_IR 192\\ISO 2022 IR 149", b"\xff\xfe\xfd", b"\x1b$B\x1b(J\x1b$)C", b"../../../../etc/passwd", b"%s%n%x",
    b"'; DROP TABLE instance; --", b"<script>", b"A" * 65, b"1.2." + b"9" * 70, b"1..2", b"MONOCHROME1",
    b"YBR_FULL_422", b"PALETTE COLOR", b"SIM LAST", b"=^^^^=", "\u202e\U0001f480".encode(),
)  # fmt: skip
_SIZING: Final = (
    (0x0028, 0x0002), (0x0028, 0x0004), (0x0028, 0x0006), (0x0028, 0x0008), (0x0028, 0x0010), (0x0028, 0x0011),
    (0x0028, 0x0100), (0x0028, 0x0101), (0x0028, 0x0102), (0x0028, 0x0103), (0x0028, 0x0106), (0x0028, 0x1050),
    (0x0028, 0x1051), (0x0028, 0x1052), (0x0028, 0x1053), (0x0028, 0x3002), (0x0028, 0x3006), (0x0028, 0x0120),
    (0x0008, 0x0005), (0x0008, 0x0016), (0x0008, 0x0018), (0x0020, 0x000D), (0x0020, 0x0020), (0x0018, 0x0015),
    (0x0018, 0x5101), (0x7FE0, 0x0010), (0x7FE0, 0x0001), (0x7FE0, 0x0002), (0x0040, 0xA730), (0x0070, 0x0022),
    (0x0002, 0x0010), (0x0002, 0x0000),
)  # fmt: skip
"""Elements that decide how much is read, allocated or looped over, and by whom."""


@dataclass(frozen=True, slots=True)
class Span:
    """Where an element of explicit VR lies: its tag at `start`, its value from `value` to `end`."""

    tag: tuple[int, int]
    vr: bytes
    start: int
    value: int
    end: int


def mutated(original: bytes, seed: int) -> bytes:
    """Return the object with one to four faults."""
    chance = random.Random(seed)
    found = original
    for _ in range(chance.choice((1, 1, 2, 4))):
        spans = list(elements(found, 132 if found[128:132] == b"DICM" else 0))
        found = chance.choice(_FAULTS)(found, spans, chance) if spans else _any_bytes(found, spans, chance)
    return found


def elements(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Span]:
    """Give the elements of explicit VR little endian from `start` on, those of items too, until one cannot be read."""
    at, end = start, len(data) if end is None else end
    while at + 8 <= end:
        group, number = struct.unpack_from("<HH", data, at)
        if group == 0xFFFE:  # an item, or the end of one: what is in it follows
            at += 8
            continue
        vr = data[at + 4 : at + 6]
        if not (vr.isalpha() and vr.isupper()):
            return
        wide = vr in _LONG_VRS
        value = at + (12 if wide else 8)
        if value > end:
            return
        length = struct.unpack_from("<L" if wide else "<H", data, at + (8 if wide else 6))[0]
        inside = vr == b"SQ" or length == 0xFFFFFFFF
        yield Span((group, number), vr, at, value, min(value + (0 if length == 0xFFFFFFFF else length), end))
        at = value if inside else value + length


Fault = Callable[[bytes, list[Span], random.Random], bytes]


def _any_bytes(data: bytes, spans: list[Span], chance: random.Random) -> bytes:
    """Change a few bytes anywhere."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        if changed:
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _end_early(data: bytes, spans: list[Span], chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data)) if chance.random() < 0.5 else chance.choice(spans).value]


def _wrong_length(data: bytes, spans: list[Span], chance: random.Random) -> bytes:
    span, length = _chosen(spans, chance), chance.choice(_LENGTHS)
    if span.vr in _LONG_VRS:
        return data[: span.start + 8] + struct.pack("<L", length) + data[span.value :]
    return data[: span.start + 6] + struct.pack("<H", length & 0xFFFF) + data[span.value :]


def _wrong_vr(data: bytes, spans: list[Span], chance: random.Random) -> bytes:
    span = _chosen(spans, chance)
    return data[: span.start + 4] + chance.choice(_ALL_VRS) + data[span.start + 6 :]


def _other_vr(data: bytes, spans: list[Span], chance: random.Random) -> bytes:
    """Write the element again under another VR, with a header that fits: well-formed, and not what it claims."""
    span = _chosen(spans, chance)
    return _replaced(data, span, data[span.value : span.end], chance.choice(_ALL_VRS[:-2]))


def _other_number(data: bytes, spans: list[Span], chance: random.Random) -> bytes:
    numbers = [span for span in spans if span.vr in (b"US", b"SS", b"UL", b"SL", b"AT")]
    if not numbers:
        return _other_text(data, spans, chance)
    span, number = _chosen(numbers, chance), chance.choice(_NUMBERS)
    return _replaced(data, span, struct.pack("<H", number) * max(1, (span.end - span.value) // 2))


def _other_text(data: bytes, spans: list[Span], chance: random.Random) -> bytes:
    text = chance.choice(_TEXTS)
    return _replaced(data, _chosen(spans, chance), text + b" " * (len(text) % 2))


def _without(data: bytes, spans: list[Span], chance: random.Random) -> bytes:
    span = _chosen(spans, chance)
    return data[: span.start] + data[span.end :]


def _twice(data: bytes, spans: list[Span], chance: random.Random) -> bytes:
    span = chance.choice(spans)
    return data[: span.end] + data[span.start : span.end] * chance.choice((1, 1, 3, 50)) + data[span.end :]


def _moved(data: bytes, spans: list[Span], chance: random.Random) -> bytes:
    span, to = chance.choice(spans), chance.choice(spans).start
    element = data[span.start : span.end]
    return data[:to] + element + data[to : span.start] + data[max(span.end, to) :]


def _nested(data: bytes, spans: list[Span], chance: random.Random) -> bytes:
    """Put the element into sequences of its own tag."""
    span, levels = _chosen(spans, chance), chance.choice((1, 2, 40, 70, 300))
    value = data[span.start : span.end]
    tag = struct.pack("<HH", *span.tag)
    for _ in range(levels):
        item = struct.pack("<HHL", 0xFFFE, 0xE000, len(value)) + value
        value = tag + b"SQ\0\0" + struct.pack("<L", len(item)) + item
    return data[: span.start] + value + data[span.end :]


def _pixels(data: bytes, spans: list[Span], chance: random.Random) -> bytes:
    """Change bytes near the beginning of a large value: codestream headers, offset tables, fragments."""
    span = max(spans, key=lambda one: one.end - one.value)
    start, end = span.value, max(span.end, min(len(data), span.value + 4096))
    changed = bytearray(data)
    for _ in range(chance.randint(1, 12)):
        changed[min(start + int((end - start) * chance.random() ** 3), len(changed) - 1)] = chance.choice(
            (0, 1, 0x7F, 0x80, 0xFE, 0xFF, chance.randrange(256))
        )
    return bytes(changed)


def _other_syntax(data: bytes, spans: list[Span], chance: random.Random) -> bytes:
    """Say in the meta group that the data set is in another transfer syntax."""
    named = [span for span in spans if span.tag == (0x0002, 0x0010)]
    if not named:
        return _any_bytes(data, spans, chance)
    uid = chance.choice(_SYNTAXES).encode()
    return _replaced(data, named[0], uid + b"\0" * (len(uid) % 2))


_SYNTAXES: Final = (
    "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.100", "1.2.3.4", "",
)  # fmt: skip

_FAULTS: Final[tuple[Fault, ...]] = (
    *(_any_bytes, _end_early, _wrong_length, _wrong_vr, _other_vr, _other_number, _other_number, _other_text),
    *(_other_text, _without, _twice, _moved, _nested, _pixels, _pixels, _other_syntax),
)


def _chosen(spans: list[Span], chance: random.Random) -> Span:
    """Return an element, half of the time one that sizes something."""
    sizing = [span for span in spans if span.tag in _SIZING]
    return chance.choice(sizing if sizing and chance.random() < 0.5 else spans)


def _replaced(data: bytes, span: Span, value: bytes, vr: bytes = b"") -> bytes:
    vr = vr or span.vr
    head = struct.pack("<HH", *span.tag) + vr
    if vr in _LONG_VRS:
        head += b"\0\0" + struct.pack("<L", len(value))
    else:
        value = value[:0xFFFE]
        head += struct.pack("<H", len(value))
    return data[: span.start] + head + value + data[span.end :]
