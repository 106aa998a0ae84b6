"""Frames and pixel data as bytes (PS3.18 10.4.1.1.6, 8.7.3.3): as they are stored, or native, little endian."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import UID, ExplicitVRLittleEndian

from regionmir.core.errors import BrokenImage, UnsupportedImage
from regionmir.deid.copies import encoded
from regionmir.pixels.guarded import transcoded
from regionmir.pixels.quiet import quiet_pydicom
from regionmir.web.dicomweb.accept import ANY_SYNTAX, Agreed
from regionmir.web.dicomweb.problems import BadRequest, NotAcceptable, NotFound
from regionmir.web.dicomweb.tables import FRAME_SYNTAXES, NATIVE, OCTETS

MAX_FRAMES: Final = 10_000

OFFERED: Final = (OCTETS, *FRAME_SYNTAXES)


@dataclass(frozen=True, slots=True)
class FrameKind:
    """How frames leave: their media type, and as they are stored (`stored`) or decoded."""

    media_type: str
    syntax: UID
    stored: bool
    multipart: bool

    @property
    def content_type(self) -> str:
        return f"{self.media_type}; transfer-syntax={self.syntax}"


def read_numbers(text: str) -> list[int]:
    """Return the frame numbers of a path, from 1. Raises `BadRequest`."""
    parts = text.split(",")
    if len(parts) > MAX_FRAMES or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise BadRequest("frames are a list of numbers from 1, such as 1,2,3")
    if any(int(part) < 1 for part in parts):
        raise BadRequest("frames are numbered from 1")
    return [int(part) for part in parts]


def choose(agreed: Sequence[Agreed], stored: UID) -> FrameKind:
    """Return how frames of this stored transfer syntax leave. Raises `NotAcceptable`."""
    for one in agreed:
        if one.media_type == OCTETS:
            if stored.is_encapsulated and (ANY_SYNTAX in one.syntaxes or stored in one.syntaxes):
                return FrameKind(OCTETS, stored, True, one.multipart)
            if not one.syntaxes or {ANY_SYNTAX, *NATIVE} & set(one.syntaxes):
                return FrameKind(OCTETS, ExplicitVRLittleEndian, False, one.multipart)
        elif stored in FRAME_SYNTAXES[one.media_type] and (
            not one.syntaxes or ANY_SYNTAX in one.syntaxes or stored in one.syntaxes
        ):
            return FrameKind(one.media_type, stored, True, one.multipart)
    raise NotAcceptable(f'multipart/related; type="{OCTETS}"; transfer-syntax=* (or 1.2.840.10008.1.2.1)')


def frames_of(dataset: Dataset, numbers: Sequence[int] | None, kind: FrameKind) -> list[bytes]:
    """Return these frames of an image in their order; None: all. Raises `NotFound`, `NotIndexable`."""
    if not dataset.get("PixelData"):
        raise NotFound("this instance has no pixel data")
    with quiet_pydicom():
        frames = _compressed(dataset) if kind.stored else _native(dataset)
    if numbers is None:
        return frames
    if max(numbers) > len(frames):
        raise NotFound("this instance has not so many frames")
    return [frames[number - 1] for number in numbers]


def _compressed(dataset: Dataset) -> list[bytes]:
    offsets = None
    if "ExtendedOffsetTable" in dataset and "ExtendedOffsetTableLengths" in dataset:
        offsets = (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths)
    try:
        count = int(dataset.get("NumberOfFrames") or 1)
        return list(generate_frames(dataset.PixelData, number_of_frames=count, extended_offsets=offsets))
    except Exception as error:  # pydicom raises many kinds on damaged items
        raise BrokenImage("pixel data damaged", type(error).__name__) from None


def _native(dataset: Dataset) -> list[bytes]:
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated or not syntax.is_little_endian:
        dataset = transcoded(encoded(dataset).getvalue(), ExplicitVRLittleEndian)  # type: ignore[arg-type]
    try:
        count = int(dataset.get("NumberOfFrames") or 1)
        samples = 2 if dataset.PhotometricInterpretation == "YBR_FULL_422" else int(dataset.SamplesPerPixel)
        bits = int(dataset.Rows) * int(dataset.Columns) * samples * int(dataset.BitsAllocated)
    except Exception as error:  # an attribute of the Image Pixel module is missing or none
        raise BrokenImage("pixel attributes", type(error).__name__) from None
    if bits % 8 and count > 1:
        raise UnsupportedImage("frames that end within a byte")
    size = (bits + 7) // 8
    data = bytes(dataset.PixelData)
    if size == 0 or count < 1 or len(data) < size * count:
        raise BrokenImage("pixel data short")
    return [data[at : at + size] for at in range(0, size * count, size)]
