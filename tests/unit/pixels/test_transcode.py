"""Another transfer syntax, the same pixels and the same header."""

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    MPEG4HP41,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from regionmir.core.errors import BrokenImage, UnsupportedImage
from regionmir.pixels.transcode import TARGETS, best_target, transcode, transcode_to_any
from tests.support.films import save, synthetic_film, write_film

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of pydicom, on its own odd test files

LITTLE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)

BUNDLED = (
    "CT_small.dcm",
    "MR_small_implicit.dcm",
    "MR_small_bigendian.dcm",
    "image_dfl.dcm",
    "JPEG2000.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "JPEGLSNearLossless_16.dcm",
    "MR_small_RLE.dcm",
    "SC_rgb_rle_16bit_2frame.dcm",
    "rtdose_rle.dcm",
    "rtdose_expb.dcm",
    "SC_rgb_small_odd_big_endian.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_dcmtk_+eb+cy+np.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "GDCMJ2K_TextGBR.dcm",
    "reportsi.dcm",
)

_PIXELS = (0x00280004, 0x00280006, 0x7FE00010)
"""Photometric interpretation, planar configuration and pixel data: what decoding may change."""


def bundled(name: str) -> Path:
    return Path(str(get_testdata_file(name, download=False)))


def samples(dataset: Dataset) -> Any:
    """Return the stored samples, without any conversion of colours."""
    return get_decoder(dataset.file_meta.TransferSyntaxUID).as_array(dataset, raw=True)[0]


def header(dataset: Dataset) -> dict[int, Any]:
    """Return the values of the public elements, those of sequences too; VRs may get lost with implicit VR."""
    found: dict[int, Any] = {}
    for tag in sorted(dataset.keys()):
        if tag.is_private or tag.element == 0 or tag in _PIXELS:
            continue
        element = dataset[tag]
        found[tag] = [header(item) for item in element.value] if element.VR == "SQ" else element.value
    return found


@pytest.mark.parametrize("target", LITTLE, ids=lambda uid: uid.keyword)
@pytest.mark.parametrize("name", BUNDLED)
def test_samples_and_header_stay_as_they_are(name: str, target: str) -> None:
    path = bundled(name)
    before = dcmread(path)

    after = transcode(path, target)

    assert after.file_meta.TransferSyntaxUID == target
    assert after.SOPInstanceUID == before.SOPInstanceUID
    assert header(after) == header(before)
    if "PixelData" in before:
        assert (samples(after) == samples(before)).all()


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_RLE.dcm", "rtdose_rle.dcm", "SC_rgb_rle_16bit.dcm"])
def test_to_big_endian_and_back_nothing_changes(name: str) -> None:
    before = dcmread(bundled(name))

    turned = transcode(bundled(name), ExplicitVRBigEndian)
    buffer = BytesIO()
    turned.save_as(buffer)
    buffer.seek(0)
    after = transcode(buffer, ExplicitVRLittleEndian)

    assert (samples(turned) == samples(before)).all()
    assert (samples(after) == samples(before)).all()
    assert header(after) == header(before)


def test_text_in_an_unknown_character_set_is_copied_as_bytes(tmp_path: Path) -> None:
    film = synthetic_film(1, transfer_syntax_uid=RLELossless, SpecificCharacterSet="ISO_IR 192")
    path = save(film, tmp_path / "film.dcm")
    content = path.read_bytes().replace(b"ISO_IR 192", b"ISO_IR 999").replace(b"Synthetic^", b"S\xff\xfe\x80hetic^")
    path.write_bytes(content)

    after = transcode(path, ImplicitVRLittleEndian)

    assert after.get_item("PatientName").value.startswith(b"S\xff\xfe\x80hetic^")


def test_subsampled_colours_are_named_as_what_they_became() -> None:
    after = transcode(bundled("SC_rgb_dcmtk_+eb+cy+np.dcm"), ExplicitVRLittleEndian)

    assert after.PhotometricInterpretation == "YBR_FULL"
    assert after.PlanarConfiguration == 0


def test_the_best_of_what_a_peer_takes_is_chosen() -> None:
    assert best_target(["1.2.840.10008.1.2.4.50", ImplicitVRLittleEndian, ExplicitVRLittleEndian]) == TARGETS[0]
    assert best_target(["1.2.840.10008.1.2.4.50"]) is None


def test_nothing_is_compressed_for_a_peer_that_takes_only_jpeg(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.dcm", 1)

    with pytest.raises(UnsupportedImage, match="none is accepted"):
        transcode_to_any(path, ["1.2.840.10008.1.2.4.50"])
    with pytest.raises(UnsupportedImage, match="cannot write"):
        transcode(path, "1.2.840.10008.1.2.4.50")


def test_pixel_data_that_cannot_be_decoded_are_broken(tmp_path: Path) -> None:
    film = synthetic_film(1, transfer_syntax_uid=RLELossless)
    film.PixelData = encapsulate([b"\x01" * 100])

    with pytest.raises(BrokenImage):
        transcode(save(film, tmp_path / "film.dcm"), ExplicitVRLittleEndian)


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    film = synthetic_film(1, transfer_syntax_uid=RLELossless)
    film.Rows = film.Columns = 60_000

    with pytest.raises(UnsupportedImage, match="too large"):
        transcode(save(film, tmp_path / "film.dcm"), ExplicitVRLittleEndian)


def test_a_syntax_that_nobody_can_decode_is_unsupported(tmp_path: Path) -> None:
    film = synthetic_film(1, transfer_syntax_uid=RLELossless)
    film.file_meta.TransferSyntaxUID = MPEG4HP41
    film.PixelData = encapsulate([b"\x01" * 100])

    with pytest.raises(UnsupportedImage, match="no decoder"):
        transcode(save(film, tmp_path / "film.dcm"), ExplicitVRLittleEndian)
