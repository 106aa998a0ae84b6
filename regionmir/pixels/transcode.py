"""The same instance in another uncompressed transfer syntax, without loss.

Pixels are decoded but never converted (no YBR to RGB), and text is copied as bytes, never decoded: a value that
pydicom would not understand, or a character set that it does not know, leaves as it came.
"""

import struct
import zlib
from collections.abc import Collection, Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydicom import dcmread
from pydicom.charset import default_encoding
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import correct_ambiguous_vr_element, write_data_element, write_file_meta_info
from pydicom.pixels.utils import get_expected_length
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

from regionmir.core.errors import BrokenImage, UnsupportedImage
from regionmir.pixels.decode import is_decoder_error
from regionmir.pixels.quiet import broken_as

TARGETS = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)
"""Transfer syntaxes that we can write, best first (PS3.5 A.1, A.2, A.3, A.5)."""

MAX_PIXEL_BYTES = 2**30
"""More decoded pixel data than this is not transcoded: it would not fit in memory beside its copies."""

_WORD_BYTES = {
    "AT": 2, "OW": 2, "SS": 2, "US": 2,
    "FL": 4, "OF": 4, "OL": 4, "SL": 4, "UL": 4,
    "FD": 8, "OD": 8, "OV": 8, "SV": 8, "UV": 8,
}  # fmt: skip
"""Bytes of one number of each VR that depends on the byte order (PS3.5 7.3)."""

_PIXEL_DATA = 0x7FE00010


def best_target(accepted: Collection[str]) -> UID | None:
    """Return the transfer syntax to convert to among those that a peer takes, or None."""
    return next((target for target in TARGETS if target in accepted), None)


def transcode(source: Path | BinaryIO, target: str, *, max_pixel_bytes: int = MAX_PIXEL_BYTES) -> FileDataset:
    """Return the Part 10 instance `source` in the transfer syntax `target`, one of `TARGETS`.

    Raises `UnsupportedImage` where we have no decoder (video) or it would be too large, `BrokenImage` where the pixel
    data cannot be decoded.
    """
    if target not in TARGETS:
        raise UnsupportedImage("transfer syntax", f"cannot write {UID(target).name}")
    with broken_as("data set unreadable"):
        return _transcoded(dcmread(source), UID(target), max_pixel_bytes)


def _transcoded(dataset: FileDataset, target: UID, max_pixel_bytes: int) -> FileDataset:
    stored = UID(str(dataset.file_meta.TransferSyntaxUID))
    if not stored.is_transfer_syntax or stored.is_private:
        raise UnsupportedImage("transfer syntax", "not one of DICOM's")
    if stored.is_encapsulated:
        decompress(dataset, stored, max_pixel_bytes)
    return _reread(dataset, target, was_little=stored.is_little_endian)


def transcode_to_any(source: Path, accepted: Collection[str]) -> FileDataset:
    """Return the instance in the best of the accepted transfer syntaxes. Raises as `transcode` does."""
    target = best_target(accepted)
    if target is None:
        raise UnsupportedImage("transfer syntax", "none is accepted that we can convert to")
    return transcode(source, target)


def decompress(dataset: FileDataset, stored: UID, max_pixel_bytes: int = MAX_PIXEL_BYTES) -> None:
    """Replace encapsulated Pixel Data by native, in place; the decoded samples keep their colour space.

    Raises as `transcode` does.
    """
    if "PixelDataProviderURL" in dataset:
        raise UnsupportedImage("transfer syntax", "the pixel data are elsewhere (JPIP)")
    if "PixelData" not in dataset:
        return
    try:
        if get_expected_length(dataset) > max_pixel_bytes:
            raise UnsupportedImage("too large", f"over {max_pixel_bytes} bytes when decoded")
        dataset.decompress(as_rgb=False, generate_instance_uid=False)
    except UnsupportedImage:
        raise
    except NotImplementedError:
        raise UnsupportedImage("transfer syntax", f"no decoder for {stored.name}") from None
    except BaseException as error:  # each plug-in raises kinds of its own
        if not is_decoder_error(error):
            raise
        raise BrokenImage("pixel data", f"cannot be decoded ({type(error).__name__})") from None
    if dataset.PhotometricInterpretation == "YBR_FULL_422":
        dataset.PhotometricInterpretation = "YBR_FULL"  # the decoder has restored the chroma samples


def _reread(dataset: FileDataset, target: UID, *, was_little: bool) -> FileDataset:
    """Write the data set in `target` and return what is read from that: its elements are raw and agree with it."""
    body = b"".join(_elements(dataset, target.is_implicit_VR, target.is_little_endian, was_little))
    if target.is_deflated:
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        body = packer.compress(body) + packer.flush()
        body += b"\0" * (len(body) % 2)
    dataset.file_meta.TransferSyntaxUID = target
    head = DicomBytesIO()
    head.is_implicit_VR, head.is_little_endian = False, True
    write_file_meta_info(head, dataset.file_meta, enforce_standard=True)
    return dcmread(BytesIO(bytes(128) + b"DICM" + head.getvalue() + body))


def _elements(dataset: Dataset, implicit: bool, little: bool, was_little: bool) -> Iterator[bytes]:
    """Give each element of the data set, encoded; group lengths are left out, as they would be wrong."""
    for tag in sorted(dataset.keys()):
        if tag.element == 0:
            continue
        element = dataset.get_item(tag)
        vr = _vr(element, dataset, was_little)
        if vr == "UN" and little != was_little:
            vr = str(dataset[tag].VR)  # numbers in it would be read in the wrong byte order: look the VR up
        if vr == "SQ":
            value = b"".join(_items(dataset[tag], implicit, little, was_little))
        elif isinstance(element, RawDataElement):
            value = element.value or b""
        else:
            value = _value(element, was_little)
        if little != was_little:
            value = _swapped(value, vr, _bits_allocated(dataset) if tag == _PIXEL_DATA else 0)
        yield _header(tag, vr, len(value), implicit, little) + value


def _items(sequence: DataElement, implicit: bool, little: bool, was_little: bool) -> Iterator[bytes]:
    order = "<" if little else ">"
    for item in sequence.value:
        content = b"".join(_elements(item, implicit, little, was_little))
        yield struct.pack(f"{order}HHL", 0xFFFE, 0xE000, len(content)) + content


def _vr(element: DataElement | RawDataElement, dataset: Dataset, was_little: bool) -> str:
    """Return the VR to write: as stored, or as the dictionary and the data set around it tell (PS3.5 A.1)."""
    vr = element.VR or _dictionary_vr(element.tag)
    if len(vr) == 2:
        return vr
    parsed = DataElement(element.tag, vr, element.value, already_converted=True)  # such as "US or SS"
    vr = str(correct_ambiguous_vr_element(parsed, dataset, was_little).VR)
    return vr if len(vr) == 2 else "OW" if "OW" in vr else "US"


def _dictionary_vr(tag: BaseTag) -> str:
    try:
        return "UN" if tag.is_private else dictionary_VR(tag)
    except KeyError:
        return "UN"


def _value(element: DataElement, little: bool) -> bytes:
    """Return the value of an element that decoding has touched or replaced, in the stored byte order."""
    if isinstance(element.value, bytes):
        return element.value + b"\0" * (len(element.value) % 2)
    file = DicomBytesIO()
    file.is_implicit_VR, file.is_little_endian = True, little
    write_data_element(file, element, default_encoding)
    return file.getvalue()[8:]


def _bits_allocated(dataset: Dataset) -> int:
    return int(dataset.get("BitsAllocated") or 16)


def _swapped(value: bytes, vr: str, bits_allocated: int) -> bytes:
    """Return the value in the other byte order; pixels of 32 and 64 bits are turned whole."""
    size = _WORD_BYTES.get(vr, 1)
    if vr == "OW" and bits_allocated in (32, 64):
        size = bits_allocated // 8
    if size == 1 or len(value) % size:
        return value
    return np.frombuffer(value, dtype=f"<u{size}").byteswap().tobytes()


def _header(tag: BaseTag, vr: str, length: int, implicit: bool, little: bool) -> bytes:
    order = "<" if little else ">"
    if implicit:
        return struct.pack("<HHL", tag.group, tag.element, length)
    if vr not in EXPLICIT_VR_LENGTH_32 and length > 0xFFFF:
        vr = "UN"  # too long for its VR (PS3.5 6.2.2)
    start = struct.pack(f"{order}HH", tag.group, tag.element) + vr.encode("ascii")
    if vr in EXPLICIT_VR_LENGTH_32:
        return start + struct.pack(f"{order}HL", 0, length)
    return start + struct.pack(f"{order}H", length)
