"""A reduced copy of a radiograph: its attributes, and its display values as an 8-bit JPEG of the same matrix.

It is for our own pictures, crops and drawn boxes, whose boxes are in stored pixels; it is never sent as the instance.
"""

from io import BytesIO
from pathlib import Path
from typing import Final

from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from regionmir.core.errors import UnsupportedImage
from regionmir.core.identifiers import Uid
from regionmir.pixels.decode import read_dataset
from regionmir.pixels.quiet import quiet_pydicom
from regionmir.pixels.rendered import frame_values

QUALITY: Final = 90
"""Of the JPEG: no coarser than a reader's monitor shows, about a twentieth of a native film."""

REDUCED_SYNTAX: Final = Uid(JPEGBaseline8Bit)
"""Transfer syntax of every reduced copy."""

_GREY: Final = (
    "WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction", "VOILUTSequence",
    "RescaleIntercept", "RescaleSlope", "RescaleType", "ModalityLUTSequence", "PixelIntensityRelationship",
    "PixelIntensityRelationshipSign", "PixelPaddingValue", "PixelPaddingRangeLimit", "SmallestImagePixelValue",
    "LargestImagePixelValue", "PlanarConfiguration", "NumberOfFrames", "IconImageSequence", "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
)  # fmt: skip
"""How stored became display values, which the copy's own are already."""


def reduced_copy(path: Path, *, max_pixels: int) -> bytes:
    """Return the reduced copy of the object at `path` as a Part 10 file; the same object gives the same bytes.

    Of several frames it holds the first. Raises `NotIndexable` for what is no picture, `OSError`.
    """
    dataset = read_dataset(path, max_pixels=max_pixels)
    if "PixelData" not in dataset:
        raise UnsupportedImage("no pixel data")
    picture = Image.fromarray(frame_values(dataset, 0, max_pixels=max_pixels)).convert("L")
    with quiet_pydicom():
        return _encoded(_grey(dataset, picture))


def _grey(dataset: Dataset, picture: Image.Image) -> FileDataset:
    """Return the attributes with the picture in the place of the pixels; private ones and overlays are left out."""
    tags = list(dataset.keys())
    kept = [tag for tag in tags if not tag.is_private and tag.group & 0xFF00 not in (0x5000, 0x6000, 0x7F00)]
    copy = FileDataset("", {tag: dataset[tag] for tag in kept}, preamble=bytes(128))
    for keyword in _GREY:
        copy.pop(keyword, None)
    copy.SamplesPerPixel, copy.PhotometricInterpretation, copy.PresentationLUTShape = 1, "MONOCHROME2", "IDENTITY"
    copy.BitsAllocated = copy.BitsStored = 8
    copy.HighBit, copy.PixelRepresentation, copy.LossyImageCompression = 7, 0, "01"
    copy.PixelData = encapsulate([_jpeg(picture)])
    copy["PixelData"].VR = "OB"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = copy.SOPClassUID, copy.SOPInstanceUID
    meta.TransferSyntaxUID = JPEGBaseline8Bit
    copy.file_meta = meta
    return copy


def _jpeg(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def _encoded(copy: FileDataset) -> bytes:
    file = BytesIO()
    copy.save_as(file, enforce_file_format=True)
    return file.getvalue()
