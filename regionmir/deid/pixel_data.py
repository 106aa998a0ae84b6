"""Pixel Data of a copy: the same samples, and nothing beside them.

What can hide beside samples: unused bits (an old place for overlays), bytes behind the last frame, comments and
application segments of compressed frames, thumbnails in them.
"""

from copy import deepcopy
from typing import Final

import numpy as np
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless

from regionmir.core.errors import BrokenImage, UnsupportedImage
from regionmir.pixels.codestream import JPEG, JPEG_2000, read_frame_header
from regionmir.pixels.markers import without_metadata
from regionmir.pixels.transcode import decompress

_WORDS: Final = {8: "u1", 16: "<u2", 32: "<u4"}
"""Bits Allocated and the words that hold one sample each (PS3.5 8.1.1)."""


def clean_pixel_data(dataset: FileDataset) -> None:
    """Take out of Pixel Data, in place, all that is no sample. The data set is little endian, or encapsulated.

    The transfer syntax stays, but where compressed frames hide bits beside the samples, or are of a kind that cannot
    be cleaned or encoded again: then it becomes Explicit VR Little Endian. Raises `BrokenImage` or `UnsupportedImage`.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if "PixelData" not in dataset:
        raise UnsupportedImage("no image")
    if not syntax.is_encapsulated:
        _clean_native(dataset)
    elif syntax in JPEG or syntax in JPEG_2000:
        _clean_frames(dataset, syntax)
    else:
        _decompress(dataset, syntax)
        if syntax == RLELossless:
            _compress_again(dataset)


def _decompress(dataset: FileDataset, syntax: UID) -> None:
    decompress(dataset, syntax)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    _clean_native(dataset)


def _compress_again(dataset: FileDataset) -> None:
    """Encode as RLE what came so, where the standard has that for such pixels (PS3.5 8.2.2); else leave it native."""
    try:
        dataset.compress(RLELossless, generate_instance_uid=False)
    except (ValueError, RuntimeError, NotImplementedError, AttributeError):
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


def _clean_frames(dataset: FileDataset, syntax: UID) -> None:
    frames = [without_metadata(frame, syntax) for frame in _frames(dataset)]
    if any(_has_room(frame, dataset, syntax) for frame in frames) and _hides_bits(dataset, syntax):
        _decompress(dataset, syntax)
        return
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        dataset.pop(keyword, None)


def _frames(dataset: FileDataset) -> list[bytes]:
    try:
        return list(generate_frames(dataset.PixelData, number_of_frames=int(dataset.get("NumberOfFrames") or 1)))
    except Exception as error:  # pydicom raises many kinds on damaged items
        raise BrokenImage("pixel data damaged", type(error).__name__) from None


def _has_room(frame: bytes, dataset: FileDataset, syntax: UID) -> bool:
    """Return whether a sample of the codestream is wider than Bits Stored."""
    header = read_frame_header(frame, syntax)
    return header is not None and header.bits > int(dataset.BitsStored)


def _hides_bits(dataset: FileDataset, syntax: UID) -> bool:
    """Decode a copy and return whether anything stands beside the samples."""
    native = deepcopy(dataset)
    decompress(native, syntax)
    return bool(_samples_only(native) != native.PixelData)


def _clean_native(dataset: FileDataset) -> None:
    """Cut Pixel Data to its declared length and clear the bits that hold no sample."""
    vr = dataset["PixelData"].VR
    try:
        expected = get_expected_length(dataset)
    except Exception as error:  # an attribute of the Image Pixel module is missing or none
        raise BrokenImage("pixel attributes", type(error).__name__) from None
    dataset.PixelData = dataset.PixelData[: expected + expected % 2]
    dataset.PixelData = _samples_only(dataset)
    dataset["PixelData"].VR = vr if vr in ("OB", "OW") else "OW"


def _samples_only(dataset: FileDataset) -> bytes:
    """Return native Pixel Data with the unused bits cleared, or, for signed samples, filled with the sign."""
    data = bytes(dataset.PixelData)
    allocated, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
    if allocated == 1 or allocated == stored:
        return data
    if allocated not in _WORDS or not 0 < stored < allocated:
        raise UnsupportedImage("pixel attributes", f"{stored} of {allocated} bits")
    lowest = int(dataset.HighBit) + 1 - stored
    if lowest < 0 or lowest + stored > allocated:
        raise BrokenImage("pixel attributes", "HighBit")
    size = allocated // 8
    words = np.frombuffer(data[: len(data) // size * size], _WORDS[allocated])
    kept = words & words.dtype.type(((1 << stored) - 1) << lowest)
    if np.array_equal(kept, words):
        return data
    if dataset.PixelRepresentation:
        highest = kept << (allocated - lowest - stored)
        kept = (highest.view(f"<i{size}") >> (allocated - lowest - stored)).view(words.dtype)
    cleaned: bytes = kept.tobytes()
    return cleaned + b"\0" * (len(cleaned) % 2)
