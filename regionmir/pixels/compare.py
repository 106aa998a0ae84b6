"""Whether two objects that came under one SOP Instance UID are the same, whatever their transfer syntax."""

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from regionmir.core.errors import NotIndexable
from regionmir.pixels.decode import decode_frame, read_dataset
from regionmir.pixels.layout import PixelLayout, read_layout
from regionmir.pixels.quiet import quiet_pydicom

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
_COLOUR = frozenset({"RGB", "YBR_RCT"})


def same_pixels_and_header(path_a: Path, path_b: Path) -> bool:
    """Say whether two Part 10 files hold the same stored values in every frame and the same attributes.

    Objects without pixel data are compared by their attributes. What cannot be read or decoded counts as the same
    only when its encoded bytes are.
    """
    try:
        a, b = read_dataset(path_a), read_dataset(path_b)
        with quiet_pydicom():
            return _same_header(a, b) and _same_pixels(a, b)
    except NotIndexable:
        return False


def _same_header(a: Dataset, b: Dataset) -> bool:
    tags_a, tags_b = _compared_tags(a), _compared_tags(b)
    return tags_a == tags_b and all(_same_element(a, b, tag) for tag in tags_a)


def _compared_tags(dataset: Dataset) -> list[BaseTag]:
    return [tag for tag in sorted(dataset.keys()) if tag not in _ENCODING and tag.element != 0]  # 0: group length


def _same_element(a: Dataset, b: Dataset, tag: BaseTag) -> bool:
    if _same_bytes(a, b, tag):
        return True
    try:
        left, right = a[tag], b[tag]
    except Exception:  # pydicom raises many kinds while it converts one broken value
        return False
    if tag == _PHOTOMETRIC_INTERPRETATION and {str(left.value), str(right.value)} <= _COLOUR:
        return True  # lossless JPEG 2000 names its own transform of RGB
    if left.VR == "SQ" and right.VR == "SQ":
        return len(left.value) == len(right.value) and all(map(_same_header, list(left.value), list(right.value)))
    return bool(left.VM == right.VM and _plain(left) == _plain(right))


def _same_bytes(a: Dataset, b: Dataset, tag: BaseTag) -> bool:
    """Say whether both hold the same bytes, so that it does not matter who wrote down the VR (implicit: UN)."""
    left, right = a.get_item(tag), b.get_item(tag)
    return (
        isinstance(left, RawDataElement)
        and isinstance(right, RawDataElement)
        and left.value is not None  # else deferred: still in the file
        and left.is_little_endian == right.is_little_endian
        and left.value == right.value
    )


def _plain(element: DataElement) -> Any:
    """Return a value in which a name is text and every way of being empty is one."""
    value = element.value
    if element.VR == "PN":
        return str(value)
    return None if value in ("", b"") else value


def _same_pixels(a: Dataset, b: Dataset) -> bool:
    if ("PixelData" in a) != ("PixelData" in b):
        return False
    if "PixelData" not in a:
        return True
    if a.file_meta.get("TransferSyntaxUID") == b.file_meta.get("TransferSyntaxUID") and a.PixelData == b.PixelData:
        return True
    try:
        layout_a, layout_b = read_layout(a), read_layout(b)
    except NotIndexable:
        return False
    return layout_a.frames == layout_b.frames and all(
        _same_frame(a, layout_a, b, layout_b, index) for index in range(layout_a.frames)
    )


def _same_frame(a: Dataset, layout_a: PixelLayout, b: Dataset, layout_b: PixelLayout, index: int) -> bool:
    try:
        left, right = decode_frame(a, layout_a, index), decode_frame(b, layout_b, index)
    except NotIndexable:
        return False
    return bool(np.array_equal(left, right))
