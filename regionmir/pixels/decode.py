"""From stored bytes to display values: decoded, windowed, not inverted, turned as a reader expects the film."""

import zlib
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from regionmir.core.errors import BrokenImage, NotIndexable
from regionmir.core.geometry import Box
from regionmir.pixels.display import Window, display_lookup
from regionmir.pixels.layout import DEFAULT_MAX_PIXELS, PixelLayout, decoder_of, read_layout
from regionmir.pixels.orientation import Turn, turn_of
from regionmir.pixels.quiet import broken_as

DisplayValues = npt.NDArray[np.float32]
"""(H, W), 0 black to 1 white, row order."""

PIPELINE_VERSION = 1
"""Raised whenever the same object would give other display values than before."""

PIPELINE_HASH = sha256(
    f"{PIPELINE_VERSION} pylibjpeg-libjpeg {version('pylibjpeg-libjpeg')}"
    f" pylibjpeg-openjpeg {version('pylibjpeg-openjpeg')}".encode()
).hexdigest()[:16]
"""Names the way from stored to display values: instances indexed under another one should be indexed again."""

_PLUGIN = "pylibjpeg"
_PANIC = "PanicException"  # of the RLE decoder, written in Rust: a BaseException that no class of ours can name
_LARGE_ELEMENT_BYTES = 2**24
_HEADER_ALLOWANCE_BYTES = 2**26
_RED, _GREEN, _BLUE = np.float32(0.299), np.float32(0.587), np.float32(0.114)


@dataclass(frozen=True, slots=True)
class DisplayImage:
    """One film as a reader sees it: `values` (H, W) in 0..1, patient's right on the left, head up."""

    values: DisplayValues
    pixel_sha256: str
    """Hash of the decoded stored values with rows, columns, bits and photometric: equal in every lossless syntax."""
    stored_size: tuple[int, int]
    """(rows, columns) of the stored image, before it was turned."""
    turn: Turn
    laterality_note: str
    """"" where the object states its orientation and it is the usual one; else what was turned, or not stated."""

    @property
    def flipped(self) -> bool:
        """Say whether columns were reversed, to bring the patient's right to the image's left."""
        return self.turn.columns_reversed

    def to_stored(self, box: Box) -> Box:
        """Return a box of `values` in stored pixels."""
        return self.turn.to_stored(box, *self.stored_size)

    def from_stored(self, box: Box) -> Box:
        """Return a box of the stored image in pixels of `values`."""
        return self.turn.from_stored(box, *self.stored_size)


def read_dataset(path: Path, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> FileDataset:
    """Return the data set of a Part 10 file; large elements are read from the file only when used.

    Raises `BrokenImage` for what is not DICOM and for a deflated data set that grows beyond an image of `max_pixels`,
    and `OSError` where the file itself cannot be read.
    """
    with broken_as("data set unreadable"):
        try:
            check_deflated(path, 4 * max_pixels + _HEADER_ALLOWANCE_BYTES)
            return dcmread(path, defer_size=_LARGE_ELEMENT_BYTES)
        except InvalidDicomError:
            raise BrokenImage("not DICOM") from None


def display_image(source: Dataset | Path | BinaryIO, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> DisplayImage:
    """Return the (first) frame of a radiograph as it is to be seen.

    Sizes are checked before anything is decoded. Raises `UnsupportedImage` for what is no such image and
    `BrokenImage` for pixel data that are missing, short, damaged or larger than `max_pixels`.
    """
    dataset = source if isinstance(source, Dataset) else _read(source, max_pixels)
    with broken_as("attributes unreadable"):
        return _display_image(dataset, max_pixels)


def _display_image(dataset: Dataset, max_pixels: int) -> DisplayImage:
    turn, note = turn_of(dataset)
    layout = read_layout(dataset, max_pixels)
    stored = decode_frame(dataset, layout)
    values = _colour_luminance(stored, layout) if layout.samples == 3 else frame_display_values(dataset, layout, stored)
    return DisplayImage(
        values=np.ascontiguousarray(turn.apply(values)),
        pixel_sha256=pixel_hash(stored, layout),
        stored_size=(layout.rows, layout.columns),
        turn=turn,
        laterality_note=note,
    )


def decode_frame(dataset: Dataset, layout: PixelLayout, index: int = 0) -> npt.NDArray[Any]:
    """Return the stored values of one frame: (rows, columns), or (rows, columns, 3) as RGB, u1, u2, i1 or i2.

    Bits outside the stored value (old overlays) are cleared. Raises `BrokenImage` where no decoder can read them.
    """
    plugin = _PLUGIN if layout.transfer_syntax.is_encapsulated else ""
    shifted = layout.unused_low_bits > 0
    options: dict[str, Any] = {"correct_unused_bits": False} if shifted else {}
    try:
        stored, _ = decoder_of(layout).as_array(dataset, index=index, decoding_plugin=plugin, **options)
    except (MemoryError, NotIndexable):
        raise
    except BaseException as error:  # every plug-in raises its own kinds; their text may hold what the file holds
        if not is_decoder_error(error):
            raise
        raise BrokenImage("pixel data damaged", type(error).__name__) from None
    if shifted:
        stored = _shifted_down(stored, layout)
    expected = (layout.rows, layout.columns) if layout.samples == 1 else (layout.rows, layout.columns, 3)
    if stored.shape != expected or stored.dtype.itemsize > 2:
        raise BrokenImage("pixel data damaged", f"decoded to {stored.shape}")
    native = stored.dtype.newbyteorder("=")
    return np.ascontiguousarray(stored, native)


def pixel_hash(stored: npt.NDArray[Any], layout: PixelLayout) -> str:
    """Return SHA-256 (hexadecimal) of stored values and what gives them their meaning."""
    photometric = layout.photometric if layout.samples == 1 else "RGB"
    head = f"{layout.rows}x{layout.columns}x{layout.samples} {layout.frames} frames {photometric}"
    head += f" {layout.bits_stored} bits {'signed' if layout.signed else 'unsigned'}"
    narrow = f"<{stored.dtype.kind}{1 if layout.bits_stored <= 8 else 2}"
    digest = sha256(head.encode("ascii") + b"\0")
    digest.update(np.ascontiguousarray(stored, narrow).data)
    return digest.hexdigest()


def frame_display_values(
    dataset: Dataset, layout: PixelLayout, stored: npt.NDArray[Any], chosen: Window | None = None
) -> DisplayValues:
    """Return the display values of a grey frame that `decode_frame` gave, in stored orientation (`display_lookup`)."""
    if stored.dtype.itemsize * 8 != layout.bits_allocated:  # a decoder may give the narrower type
        stored = stored.astype(f"{stored.dtype.kind}{layout.bits_allocated // 8}")
    lookup = display_lookup(dataset, layout, stored, chosen)
    return np.asarray(lookup[stored.view(f"u{stored.itemsize}")], np.float32)


def _colour_luminance(stored: npt.NDArray[Any], layout: PixelLayout) -> DisplayValues:
    """Return the luminance (Rec. 601) of an RGB capture of a film."""
    top = np.float32(2**layout.bits_stored - 1)
    luminance = stored[..., 0] * _RED
    luminance += stored[..., 1] * _GREEN
    luminance += stored[..., 2] * _BLUE
    return np.asarray(np.clip(luminance / top, 0, 1), np.float32)


def _shifted_down(stored: npt.NDArray[Any], layout: PixelLayout) -> npt.NDArray[Any]:
    above = layout.bits_allocated - 1 - layout.high_bit
    native = stored.astype(stored.dtype.newbyteorder("="))
    return (native << above) >> (above + layout.unused_low_bits)


def _read(source: Path | BinaryIO, max_pixels: int) -> Dataset:
    if isinstance(source, Path):
        return read_dataset(source, max_pixels=max_pixels)
    with broken_as("data set unreadable"):
        try:
            return dcmread(source)
        except InvalidDicomError:
            raise BrokenImage("not DICOM") from None


def check_deflated(path: Path, limit: int) -> None:
    """Raise `BrokenImage` where a deflated data set (PS3.5 A.5) inflates to more than `limit` bytes."""
    meta = read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    inflater, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with path.open("rb") as file:
        file.seek(132 + 12 + int(meta.FileMetaInformationGroupLength))
        waiting = file.read(2**16)
        while waiting and not inflater.eof:
            total += len(inflater.decompress(waiting, 2**20))
            if total > limit:
                raise BrokenImage("too many bytes inflated", f"limit {limit}")
            waiting = inflater.unconsumed_tail or file.read(2**16)


def is_decoder_error(error: BaseException) -> bool:
    """Return whether `error` may come from a damaged image: any `Exception`, or a panic of a decoder in Rust."""
    return isinstance(error, Exception) or type(error).__name__ == _PANIC
