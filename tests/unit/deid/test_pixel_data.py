"""Pixel Data of copies: whatever the encoding, the samples stay equal."""

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRLittleEndian

from regionmir.core.errors import UnsupportedImage
from regionmir.deid.pixel_data import clean_pixel_data

SAME_SYNTAX = (
    "CT_small.dcm",
    "MR_small_RLE.dcm",
    "SC_rgb_rle.dcm",
    "SC_rgb_rle_2frame.dcm",
    "JPGExtended.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_jpeg_app14_dcmd.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "MR_small_jp2klossless.dcm",
    "SC_jpeg_no_color_transform.dcm",
    "SC_rgb_jls_lossy_line.dcm",
    "SC_ybr_full_422_uncompressed.dcm",
    "SC_rgb_small_odd.dcm",
    "examples_overlay.dcm",
    "examples_ybr_color.dcm",
)
"""pydicom's own test files: single and multi-frame, gray and colour."""


@pytest.mark.parametrize("name", SAME_SYNTAX)
@pytest.mark.filterwarnings("ignore")
def test_samples_and_transfer_syntax_stay(name: str) -> None:
    path = str(get_testdata_file(name, download=False))
    original, dataset = dcmread(path), dcmread(path)

    clean_pixel_data(dataset)

    assert dataset.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
    assert (dataset.pixel_array == original.pixel_array).all()


@pytest.mark.filterwarnings("ignore")
def test_frames_that_cannot_be_encoded_again_stay_uncompressed() -> None:
    path = str(get_testdata_file("SC_rgb_rle_32bit.dcm", download=False))
    dataset = dcmread(path)

    clean_pixel_data(dataset)

    assert dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert (dataset.pixel_array == dcmread(path).pixel_array).all()


def test_an_object_without_pixel_data_makes_no_copy() -> None:
    dataset = dcmread(str(get_testdata_file("rtplan.dcm", download=False)))

    with pytest.raises(UnsupportedImage):
        clean_pixel_data(dataset)
