"""Whether two objects that came under one SOP Instance UID are the same, whatever their transfer syntax."""

import struct
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.filereader import read_deferred_data_element
from pydicom.tag import BaseTag
from pydicom.valuerep import STR_VR

from regionmir.core.errors import NotIndexable
from regionmir.pixels.decode import decode_frame, pixel_hash, read_dataset
from regionmir.pixels.layout import read_layout
from regionmir.pixels.quiet import broken_as, quiet_pydicom

# What a change of transfer syntax may change without changing the image (PS3.5 8.2, A.4): its encoding.
_ENCODING = frozenset(
    {
        0x7FE00001,  # Extended Offset Table
        0x7FE00002,  # Extended Offset Table Lengths
        0x7FE00010,  # Pixel Data: compared by value
        0x00280006,  # Planar Configuration
        0xFFFCFFFC,  # Data Set Trailing Padding
    }
)
_PHOTOMETRIC_INTERPRETATION = 0x00280004
_WORD_BYTES: Final = {
    "US": 2, "SS": 2, "OW": 2, "AT": 2, "UL": 4, "SL": 4, "FL": 4, "OF": 4, "OL": 4,
    "FD": 8, "OD": 8, "OV": 8, "SV": 8, "UV": 8,
}  # fmt: skip
"""Sizes of the words that big endian swaps (PS3.5 7.3); an AT is two of them."""


def same_pixels_and_header(path_a: Path, path_b: Path) -> bool:
    """Say whether two Part 10 files hold the same stored values in every frame and the same attributes.

    Objects without pixel data are compared by their attributes. What cannot be read or decoded counts as the same
    only when its encoded bytes are.
    """
    try:
        a, b = read_dataset(path_a), read_dataset(path_b)
        return _header(a) == _header(b) and _pixels(a) == _pixels(b)
    except NotIndexable:
        return False


def content_sha256(path: Path) -> str:
    """Return SHA-256 (hexadecimal) of what `same_pixels_and_header` compares of a Part 10 file: the same for the same.

    Raises `NotIndexable` for what cannot be read.
    """
    dataset = read_dataset(path)
    return sha256(_header(dataset) + _pixels(dataset)).hexdigest()


def _header(dataset: FileDataset) -> bytes:
    with broken_as("attributes unreadable"):
        return _attributes(dataset)


def _attributes(dataset: Dataset) -> bytes:
    """Return a digest of all elements by their bytes in little endian, text without padding, whatever VR is written."""
    digest = sha256()
    for tag in sorted(dataset.keys()):
        if tag not in _ENCODING and tag.element != 0:  # 0: group length
            value = _value(dataset, tag)
            digest.update(struct.pack("<LQ", tag, len(value)) + value)
    return digest.digest()


def _value(dataset: Dataset, tag: BaseTag) -> bytes:
    raw = dataset.get_item(tag)
    if isinstance(raw, RawDataElement) and "SQ" in (raw.VR, _known_vr(tag)):
        raw = dataset[tag]
    if not isinstance(raw, RawDataElement):  # pydicom has read it already: a sequence, or the character set
        return b"".join(map(_attributes, raw.value)) if raw.VR == "SQ" else str(raw.value).encode()
    if raw.value is None and isinstance(dataset, FileDataset):
        raw = read_deferred_data_element(dataset.fileobj_type, dataset.filename, dataset.timestamp, raw)
    value = raw.value or b""
    if not raw.is_little_endian:
        width = _WORD_BYTES.get(str(raw.VR), 1)
        value = np.frombuffer(value, f">u{width}").astype(f"<u{width}").tobytes()
    if _known_vr(tag) in STR_VR:
        value = value.rstrip(b" \0")
    if tag == _PHOTOMETRIC_INTERPRETATION and value == b"YBR_RCT":
        return b"RGB"  # lossless JPEG 2000 names its own transform of RGB
    return value


def _known_vr(tag: BaseTag) -> str:
    """Return the VR of the dictionary, empty for a private attribute."""
    return dictionary_VR(tag) if dictionary_has_tag(tag) else ""


def _pixels(dataset: FileDataset) -> bytes:
    """Return a digest of the stored values of every frame; of what cannot be decoded, of its encoded bytes."""
    with quiet_pydicom():
        if "PixelData" not in dataset:
            return b""
        try:
            layout = read_layout(dataset)
            frames = [pixel_hash(decode_frame(dataset, layout, index), layout) for index in range(layout.frames)]
            return sha256(" ".join(frames).encode()).digest()
        except NotIndexable:
            syntax = str(dataset.file_meta.get("TransferSyntaxUID", ""))
            return sha256(syntax.encode() + b"\0" + bytes(dataset.PixelData)).digest()
