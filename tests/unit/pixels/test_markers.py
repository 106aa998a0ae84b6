"""Cleaning compressed frames: the samples stay, what else a codestream carries goes."""

import struct

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEGBaseline8Bit, RLELossless

from regionmir.core.errors import BrokenImage, UnsupportedImage
from regionmir.pixels.markers import without_metadata

BUNDLED = (
    "JPGExtended.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "SC_rgb_jpeg_app14_dcmd.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "JPEG2000.dcm",
    "MR_small_jp2klossless.dcm",
    "GDCMJ2K_TextGBR.dcm",
)
"""pydicom's own test files, one for each kind of codestream."""

SECRET = b"SECRET WORDS"


def with_secrets(frame: bytes) -> bytes:
    """Return the frame with a comment, application data and a tail."""
    if frame[:2] == b"\xff\xd8":
        segments = [
            b"\xff" + bytes([marker]) + struct.pack(">H", 2 + len(SECRET)) + SECRET for marker in (0xFE, 0xE1, 0xEF)
        ]
        return frame[:2] + b"".join(segments) + frame[2:] + SECRET
    sizes = frame.index(b"\xff\x51") + 2
    (length,) = struct.unpack_from(">H", frame, sizes)
    after = sizes + length
    comment = b"\xff\x64" + struct.pack(">HH", 4 + len(SECRET), 1) + SECRET
    return frame[:after] + comment + frame[after:] + SECRET


@pytest.mark.parametrize("name", BUNDLED)
def test_a_cleaned_frame_decodes_to_the_same_samples_and_holds_no_secret(name: str) -> None:
    dataset = dcmread(str(get_testdata_file(name, download=False)))
    syntax, samples = dataset.file_meta.TransferSyntaxUID, dataset.pixel_array.copy()
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))

    cleaned = without_metadata(with_secrets(frame), syntax)

    assert SECRET not in cleaned
    dataset.PixelData = encapsulate([cleaned])
    assert (dataset.pixel_array == samples).all()
    assert without_metadata(cleaned, syntax) == cleaned


@pytest.mark.parametrize("cut", [1, 3, 10, 200, -1, -2])
def test_a_frame_that_is_cut_short_is_refused(cut: int) -> None:
    dataset = dcmread(str(get_testdata_file("SC_rgb_jpeg_dcmtk.dcm", download=False)))
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1)).rstrip(b"\0")

    with pytest.raises(BrokenImage):
        without_metadata(frame[:cut], JPEGBaseline8Bit)


def test_other_kinds_of_frames_are_not_taken_for_clean() -> None:
    with pytest.raises(UnsupportedImage):
        without_metadata(b"\xff\xd8\xff\xd9", RLELossless)
