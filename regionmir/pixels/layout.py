"""The shape of stored pixels (PS3.3 C.7.6.3), checked against limits and against the bytes before any decoding."""

import math
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import Decoder, get_decoder
from pydicom.uid import UID

from regionmir.core.errors import BrokenImage, UnsupportedImage
from regionmir.pixels.codestream import read_frame_header

DEFAULT_MAX_PIXELS = 100_000_000

_GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})
_COLOUR = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT"})
_LARGEST_FRAME_COUNT = 100_000


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """How the stored values of one instance lie in its pixel data."""

    transfer_syntax: UID
    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool

    @property
    def unused_low_bits(self) -> int:
        """Bits below the stored value, 0 in every object of today (PS3.5 8.1.1 wants high bit = stored - 1)."""
        return self.high_bit + 1 - self.bits_stored

    @property
    def native_frame_bytes(self) -> int:
        samples = 2 if self.photometric == "YBR_FULL_422" else self.samples
        return self.rows * self.columns * samples * self.bits_allocated // 8


def read_layout(dataset: Dataset, max_pixels: int = DEFAULT_MAX_PIXELS) -> PixelLayout:
    """Return the layout of `dataset`, whose pixel data are long enough for it.

    Raises `UnsupportedImage` for layouts that no radiograph has (palettes, 1 or 32 bits, unknown transfer syntax) and
    `BrokenImage` for missing or contradicting attributes, more than `max_pixels` in a frame, or too few bytes.
    """
    layout = PixelLayout(
        transfer_syntax=_transfer_syntax(dataset),
        rows=_number(dataset, "Rows"),
        columns=_number(dataset, "Columns"),
        frames=_number(dataset, "NumberOfFrames", 1) or 1,
        samples=_number(dataset, "SamplesPerPixel", 1),
        photometric=_photometric(dataset),
        bits_allocated=_number(dataset, "BitsAllocated"),
        bits_stored=_number(dataset, "BitsStored"),
        high_bit=_number(dataset, "HighBit", _number(dataset, "BitsStored") - 1),
        signed=_number(dataset, "PixelRepresentation", 0) == 1,
    )
    _check_values(layout)
    _check_size(layout, max_pixels)
    _check_data(dataset, layout)
    return layout


def decoder_of(layout: PixelLayout) -> Decoder:
    """Return pydicom's decoder. Raises `UnsupportedImage` where there is none for the transfer syntax."""
    try:
        decoder = get_decoder(layout.transfer_syntax)
    except NotImplementedError:
        decoder = None
    if decoder is None or not decoder.is_available:
        raise UnsupportedImage("transfer syntax not decodable", layout.transfer_syntax[:64])
    return decoder


def is_decodable(transfer_syntax: UID) -> bool:
    """Return whether we have a decoder for frames of this transfer syntax."""
    try:
        return get_decoder(transfer_syntax).is_available
    except NotImplementedError:
        return False


def first_frame(dataset: Dataset, layout: PixelLayout) -> bytes:
    """Return the compressed bytes of the first frame. Raises `BrokenImage`."""
    offsets = None
    if "ExtendedOffsetTable" in dataset and "ExtendedOffsetTableLengths" in dataset:
        offsets = (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths)
    try:
        return get_frame(dataset.PixelData, 0, number_of_frames=layout.frames, extended_offsets=offsets)
    except Exception as error:  # pydicom raises many kinds for fragments that do not add up
        raise BrokenImage("pixel data damaged", type(error).__name__) from None


def _check_values(layout: PixelLayout) -> None:
    if layout.photometric not in _GREY | _COLOUR:
        raise UnsupportedImage(f"photometric {layout.photometric[:16]}")
    if layout.bits_allocated not in (8, 16):
        raise UnsupportedImage(f"{layout.bits_allocated} bits allocated")
    if not 1 <= layout.bits_stored <= layout.bits_allocated:
        raise BrokenImage("bits stored out of range", str(layout.bits_stored))
    if not 0 <= layout.unused_low_bits <= layout.bits_allocated - layout.bits_stored:
        raise BrokenImage("high bit out of range", str(layout.high_bit))
    if layout.samples != (1 if layout.photometric in _GREY else 3):
        raise BrokenImage("samples per pixel contradict", f"{layout.samples} in {layout.photometric}")


def _check_size(layout: PixelLayout, max_pixels: int) -> None:
    if layout.rows < 1 or layout.columns < 1 or not 1 <= layout.frames <= _LARGEST_FRAME_COUNT:
        raise BrokenImage("size out of range", f"{layout.rows} x {layout.columns} x {layout.frames}")
    if layout.rows * layout.columns > max_pixels:
        raise BrokenImage("too many pixels declared", f"{layout.rows} x {layout.columns}, limit {max_pixels}")


def _check_data(dataset: Dataset, layout: PixelLayout) -> None:
    decoder_of(layout)
    data = dataset.get("PixelData")
    if not data:
        raise BrokenImage("pixel data missing")
    if not isinstance(data, bytes):
        raise BrokenImage("pixel data damaged", type(data).__name__)
    if not layout.transfer_syntax.is_encapsulated:
        needed = layout.native_frame_bytes * layout.frames
        if len(data) < needed:
            raise BrokenImage("pixel data short", f"{len(data)} of {needed} bytes")
        return
    header = read_frame_header(first_frame(dataset, layout), layout.transfer_syntax)
    if header and (header.rows, header.columns, header.samples) != (layout.rows, layout.columns, layout.samples):
        raise BrokenImage(
            "codestream differs from attributes",
            f"{header.rows} x {header.columns} x {header.samples},"
            f" declared {layout.rows} x {layout.columns} x {layout.samples}",
        )


def _transfer_syntax(dataset: Dataset) -> UID:
    uid = getattr(dataset, "file_meta", Dataset()).get("TransferSyntaxUID")
    if not isinstance(uid, str) or not uid:
        raise BrokenImage("transfer syntax missing")
    return UID(uid)


def _photometric(dataset: Dataset) -> str:
    value = str(_value(dataset, "PhotometricInterpretation") or "").strip().upper()
    if not value:
        raise BrokenImage("PhotometricInterpretation missing")
    return value


def _number(dataset: Dataset, keyword: str, default: int | None = None) -> int:
    value = _value(dataset, keyword)
    if value is None or value == "":
        if default is None:
            raise BrokenImage(f"{keyword} missing")
        return default
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise BrokenImage(f"{keyword} unreadable") from None
    if not math.isfinite(number) or number != int(number):
        raise BrokenImage(f"{keyword} unreadable")
    return int(number)


def _value(dataset: Dataset, keyword: str) -> Any:
    try:
        return dataset.get(keyword)
    except Exception:  # pydicom raises many kinds while it converts one broken value
        raise BrokenImage(f"{keyword} unreadable") from None
