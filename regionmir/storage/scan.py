"""Reading the head of a data set from a sender nobody vouches for: bounded memory, time and depth (PS3.5 7)."""

import io
import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO, Final

from pydicom.charset import convert_encodings
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID

from regionmir.core.errors import InvalidHeader

MAX_VALUE_BYTES: Final = 16 << 10
"""Longer values of the head are passed over: they are no identifiers and are retrieved with the instance."""

MAX_KEPT_BYTES: Final = 2 << 20
"""Of all values together, with what each takes in memory beside its bytes: hundreds of times those of a radiograph.
Beyond, only what an instance is filed by is kept."""

MAX_ELEMENTS: Final = 1_000_000
MAX_DEPTH: Final = 64
MAX_INFLATED_BYTES: Final = 2 << 20
"""Of a deflated data set, as far as its head is read: many times what stands before the pixel data of any image."""

_UNDEFINED: Final = 0xFFFFFFFF
_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD
_PIXEL_GROUP: Final = 0x7FE0
_CHARSET: Final = 0x00080005
_FILED_BY: Final = frozenset({_CHARSET, 0x00080016, 0x00080018, 0x00100020, 0x00100021, 0x0020000D, 0x0020000E})
"""Character set; class, instance, patient and issuer, study and series (`regionmir.core.header`)."""

_ELEMENT_BYTES: Final = 256
"""What an element takes in memory beside its value."""

_LONG_VRS: Final = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
_FRAGMENT_VRS: Final = frozenset({b"OB", b"OW", b"OF", b"OD"})


def scan_dataset(file: BinaryIO, transfer_syntax_uid: str) -> Dataset:
    """Return the short top-level public elements of the data set that begins at the position of `file`.

    Of more than `MAX_KEPT_BYTES` of them, the first, and all that an instance is filed by. The structure is followed to
    the end of the file without reading pixel data or other long values; nothing is decoded. Raises `InvalidHeader`
    where it is no data set, ends too early, or is built to exhaust its reader.
    """
    syntax = UID(transfer_syntax_uid)
    whole = True
    try:
        explicit, little, is_deflated = not syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated
    except ValueError:
        raise InvalidHeader("the transfer syntax is none of DICOM's") from None
    if is_deflated:
        file, whole = _inflated(file)
    scan = _Scan(file, explicit=explicit, little=little, whole=whole)
    scan.run()
    return _dataset(scan.elements, explicit=scan.explicit, little=scan.little)


@dataclass(slots=True)
class _Element:
    tag: int
    vr: bytes | None
    length: int


class _Truncated(Exception):
    """The end of what can be read lies inside an element."""


class _Scan:
    """One walk over the elements. Nothing recurses: `_skip_nested` keeps its own stack."""

    def __init__(self, file: BinaryIO, *, explicit: bool, little: bool, whole: bool) -> None:
        self.elements: dict[BaseTag, RawDataElement] = {}
        self.explicit = explicit
        self.little = little
        self._whole = whole
        self._file = file
        self._at = file.tell()
        self._end = file.seek(0, io.SEEK_END)
        file.seek(self._at)
        self._seen = self._kept_bytes = 0
        order = "<" if little else ">"
        self._tag_format = struct.Struct(f"{order}HH")
        self._short = struct.Struct(f"{order}H")
        self._long = struct.Struct(f"{order}L")

    def run(self) -> None:
        """Fill `elements`. Raises `InvalidHeader`."""
        try:
            while self._at < self._end and not self._is_padding():
                self._take(self._header(explicit=self.explicit))
        except _Truncated:
            if self._whole:
                raise InvalidHeader("data set is truncated or no data set") from None
        if not self.elements:
            raise InvalidHeader("no data set")

    def _take(self, element: _Element) -> None:
        group = element.tag >> 16
        if group in (0x0000, 0x0002, 0xFFFE, 0xFFFF):
            raise InvalidHeader(f"no data set: element of group {group:04X}")
        start = self._at
        if element.length == _UNDEFINED:
            self._skip_nested(element)
            length = self._at - start - 8  # without the closing delimiter
        else:
            length = element.length
        keep = length <= MAX_VALUE_BYTES and group != _PIXEL_GROUP and not group % 2
        keep = keep and (self._kept_bytes < MAX_KEPT_BYTES or element.tag in _FILED_BY)
        if keep:
            self._seek(start)
            value = self._read(length)
            self._keep(element, value, start)
        if element.length == _UNDEFINED:
            self._skip(8 if keep else 0)
        elif not keep:
            self._skip(length)

    def _keep(self, element: _Element, value: bytes, start: int) -> None:
        self._kept_bytes += len(value) + _ELEMENT_BYTES
        vr = element.vr.decode("ascii") if element.vr else None
        tag = BaseTag(element.tag)
        length = element.length if element.length != _UNDEFINED else len(value)
        self.elements[tag] = RawDataElement(tag, vr, length, value, start, element.vr is None, self.little)

    def _header(self, *, explicit: bool) -> _Element:
        """Return the next element's tag, VR (None: implicit) and length; the position is then its value's."""
        self._seen += 1
        if self._seen > MAX_ELEMENTS:
            raise InvalidHeader("too many elements")
        head = self._read(8)
        group, number = self._tag_format.unpack(head[:4])
        tag = group << 16 | number
        vr = head[4:6]
        if group == 0xFFFE or not explicit or not (vr.isalpha() and vr.isupper()):
            return _Element(tag, None, self._long.unpack(head[4:])[0])
        if vr in _LONG_VRS:
            return _Element(tag, vr, self._long.unpack(self._read(4))[0])
        return _Element(tag, vr, self._short.unpack(head[6:])[0])

    def _skip_nested(self, element: _Element) -> None:
        """Pass over a value of undefined length: a sequence, or fragments of pixel data (PS3.5 7.5, A.4)."""
        open_values = [element]
        explicit = [self._explicit_inside(element, self.explicit)]
        while open_values:
            if _has_fragments(open_values[-1]) and self._at == self._end:
                return  # some senders leave out the last delimiter
            inner = self._header(explicit=explicit[-1])
            if inner.tag == _SEQUENCE_END:
                open_values.pop()
                explicit.pop()
            elif inner.length != _UNDEFINED:
                self._skip(inner.length)
            elif inner.tag != _ITEM:
                open_values.append(inner)
                explicit.append(self._explicit_inside(inner, explicit[-1]))
            if len(open_values) > MAX_DEPTH:
                raise InvalidHeader("sequences are nested too deeply")

    @staticmethod
    def _explicit_inside(element: _Element, explicit: bool) -> bool:
        """Inside a UN of undefined length all is Implicit VR (PS3.5 6.2.2 note 2)."""
        return explicit and element.vr != b"UN"

    def _is_padding(self) -> bool:
        """Return whether only a few zero bytes are left."""
        left = self._end - self._at
        if left >= 8:
            return False
        return not any(self._read(left))

    def _read(self, count: int) -> bytes:
        if count > self._end - self._at:
            raise _Truncated
        self._at += count
        return self._file.read(count)

    def _skip(self, count: int) -> None:
        self._seek(self._at + count)

    def _seek(self, position: int) -> None:
        if position > self._end:
            raise _Truncated
        self._at = position
        self._file.seek(position)


def _has_fragments(element: _Element) -> bool:
    return element.vr in _FRAGMENT_VRS or element.tag >> 16 == _PIXEL_GROUP


def _dataset(elements: dict[BaseTag, RawDataElement], *, explicit: bool, little: bool) -> Dataset:
    dataset = Dataset(dict(elements))
    dataset.set_original_encoding(not explicit, little, _encodings(elements.get(BaseTag(_CHARSET))))
    return dataset


def _encodings(element: RawDataElement | None) -> list[str]:
    """Return the Python codecs of Specific Character Set; an unknown one counts as ISO_IR 100 and refuses nothing."""
    value = (element.value or b"") if element else b""
    terms = [term.strip(b" \0").decode("ascii", "replace") for term in value.split(b"\\")]
    try:
        return convert_encodings(terms)
    except Exception:  # pydicom raises LookupError, or a warning where warnings are errors
        return ["iso8859"]


def _inflated(file: BinaryIO) -> tuple[BinaryIO, bool]:
    """Return the head of a deflated data set, and whether that is all of it (PS3.5 A.5)."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    out = io.BytesIO()
    try:
        while not inflate.eof and out.tell() < MAX_INFLATED_BYTES:
            chunk = inflate.unconsumed_tail or file.read(1 << 16)
            if not chunk:
                raise InvalidHeader("deflated data set is truncated")
            out.write(inflate.decompress(chunk, 1 << 20))
    except zlib.error:
        raise InvalidHeader("data set is not deflated as its transfer syntax says") from None
    out.seek(0)
    return out, inflate.eof
