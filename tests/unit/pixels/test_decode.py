"""Every transfer syntax gives the same film; what cannot be decoded is refused before it costs anything."""

import io
import logging
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from regionmir.core.errors import BrokenImage, NotIndexable, UnsupportedImage
from regionmir.pixels.codestream import read_frame_header
from regionmir.pixels.decode import PIPELINE_HASH, display_image, read_dataset
from regionmir.pixels.eligibility import check_frontal_chest
from tests.support.films import save, synthetic_film, write_film

LOSSLESS = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEG2000Lossless,
]


def bundled(name: str) -> Path:
    found = get_testdata_file(name, download=False)
    assert isinstance(found, str)
    return Path(found)


def jpeg_film(rows: int = 64, columns: int = 64, **attributes: Any) -> Dataset:
    """Return an 8-bit film in JPEG Baseline."""
    film = synthetic_film(1, rows=rows, columns=columns, bits=8)
    buffer = io.BytesIO()
    Image.frombytes("L", (columns, rows), film.PixelData).save(buffer, "JPEG")
    film.PixelData = encapsulate([buffer.getvalue()])
    film["PixelData"].is_undefined_length = True
    film.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    for keyword, value in attributes.items():
        setattr(film, keyword, value)
    return film


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda uid: uid.name)
def test_one_film_is_the_same_in_every_lossless_syntax(tmp_path: Path, syntax: UID, bits: int) -> None:
    plain = display_image(synthetic_film(7, bits=bits))
    other = display_image(write_film(tmp_path / "film.dcm", 7, bits=bits, transfer_syntax_uid=syntax))
    assert other.pixel_sha256 == plain.pixel_sha256
    np.testing.assert_array_equal(other.values, plain.values)


@pytest.mark.parametrize(
    "name",
    ["MR_small_bigendian.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"],
)
def test_signed_pixels_are_the_same_in_every_lossless_syntax(name: str) -> None:
    assert display_image(bundled(name)).pixel_sha256 == display_image(bundled("MR_small.dcm")).pixel_sha256


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("JPGExtended.dcm", (1024, 256)),
        ("JPEGLSNearLossless_16.dcm", (50, 10)),
        ("JPEG2000.dcm", (1024, 256)),
        ("image_dfl.dcm", (512, 512)),
        ("SC_rgb_jpeg_gdcm.dcm", (100, 100)),  # JPEG lossless, RGB
        ("examples_ybr_color.dcm", (240, 320)),  # JPEG baseline, 30 frames
    ],
)
def test_real_objects_of_other_syntaxes_are_decoded(name: str, size: tuple[int, int]) -> None:
    image = display_image(bundled(name))
    assert image.values.shape == size
    assert image.values.dtype == np.float32
    assert 0 <= image.values.min() < image.values.max() <= 1


def test_a_bundled_object_gives_an_image_or_a_reason_and_nothing_else() -> None:
    reasons = {}
    for path in bundled("CT_small.dcm").parent.rglob("*.dcm"):
        try:
            display_image(path)
        except NotIndexable as refused:
            reasons[path.name] = refused.reason
    assert 15 < len(reasons) < 40
    assert reasons["rtdose.dcm"] == "32 bits allocated"
    assert reasons["examples_palette.dcm"] == "photometric PALETTE COLOR"
    assert reasons["MR_truncated.dcm"] == "pixel data short"


def test_the_hash_tells_films_apart_that_differ_in_one_pixel_or_in_meaning() -> None:
    film = synthetic_film(1)
    first = display_image(film).pixel_sha256
    film.PhotometricInterpretation = "MONOCHROME1"
    second = display_image(film).pixel_sha256
    film.PixelData = bytes([film.PixelData[0] ^ 1]) + film.PixelData[1:]
    assert len({first, second, display_image(film).pixel_sha256}) == 3


def test_a_colour_capture_of_a_film_is_shown_by_its_luminance() -> None:
    film = synthetic_film(1, kind="SC", rows=2, columns=2, bits=8, SamplesPerPixel=3, PlanarConfiguration=0)
    film.PhotometricInterpretation = "RGB"
    film.PixelData = bytes([255, 0, 0, 0, 255, 0, 0, 0, 255, 128, 128, 128])
    np.testing.assert_allclose(display_image(film).values, [[0.299, 0.587], [0.114, 128 / 255]], atol=1e-3)


def test_the_first_of_several_frames_is_shown() -> None:
    film = synthetic_film(1, rows=8, columns=8)
    only = display_image(film)
    film.NumberOfFrames = 3
    film.PixelData = film.PixelData + bytes(2 * len(film.PixelData))
    several = display_image(film)
    np.testing.assert_array_equal(several.values, only.values)
    assert several.pixel_sha256 != only.pixel_sha256


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless], ids=lambda uid: uid.name)
def test_a_bomb_of_declared_pixels_is_refused_without_decoding(syntax: UID) -> None:
    film = synthetic_film(1, transfer_syntax_uid=syntax, Rows=60_000, Columns=60_000)
    began = time.process_time()
    with pytest.raises(BrokenImage, match="too many pixels declared: 60000 x 60000"):
        display_image(film)
    assert time.process_time() - began < 0.5


def test_the_limit_is_an_argument() -> None:
    with pytest.raises(BrokenImage, match="limit 1000"):
        display_image(synthetic_film(1), max_pixels=1000)


@pytest.mark.parametrize("make", [lambda: jpeg_film(), lambda: synthetic_film(1, transfer_syntax_uid=JPEG2000Lossless)])
def test_a_codestream_larger_than_its_attributes_is_refused_without_decoding(make: Any) -> None:
    film = make()
    frame = bytearray(get_frame(film.PixelData, 0, number_of_frames=1))
    if frame[:2] == b"\xff\xd8":
        at = frame.index(b"\xff\xc0") + 5
        frame[at : at + 4] = struct.pack(">HH", 60_000, 60_000)
    else:
        frame[8:16] = struct.pack(">II", 60_000, 60_000)
    film.PixelData = encapsulate([bytes(frame)])
    with pytest.raises(BrokenImage, match="codestream differs from attributes"):
        display_image(film)


def test_a_deflated_bomb_is_refused_while_it_inflates(tmp_path: Path) -> None:
    path = write_film(tmp_path / "bomb.dcm", 1, transfer_syntax_uid=DeflatedExplicitVRLittleEndian)
    meta_end = 144 + struct.unpack("<I", path.read_bytes()[140:144])[0]
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = b"".join(squeeze.compress(bytes(2**20)) for _ in range(100)) + squeeze.flush()
    path.write_bytes(path.read_bytes()[:meta_end] + bomb)
    with pytest.raises(BrokenImage, match="too many bytes inflated"):
        read_dataset(path, max_pixels=1_000_000)


def test_pixel_data_shorter_than_rows_by_columns_is_refused() -> None:
    film = synthetic_film(1)
    film.PixelData = film.PixelData[:-2]
    with pytest.raises(BrokenImage, match="pixel data short: 131070 of 131072 bytes") as refused:
        display_image(film)
    assert refused.value.reason == "pixel data short"


@pytest.mark.parametrize("share", [0.99, 0.5, 0.05])
@pytest.mark.parametrize(
    "make",
    [
        jpeg_film,
        lambda: synthetic_film(1, transfer_syntax_uid=JPEG2000Lossless),
        lambda: synthetic_film(1, transfer_syntax_uid=RLELossless),
    ],
    ids=["JPEG", "JPEG 2000", "RLE"],
)
def test_a_codestream_cut_short_is_refused_and_never_half_a_film(make: Any, share: float) -> None:
    film = make()
    frame = get_frame(film.PixelData, 0, number_of_frames=1)
    film.PixelData = encapsulate([frame[: int(len(frame) * share)]])
    with pytest.raises(BrokenImage, match=r"pixel data (short|damaged)"):
        display_image(film)


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    for number, syntax in enumerate(LOSSLESS):
        whole = write_film(tmp_path / f"{number}.dcm", 1, transfer_syntax_uid=syntax)
        data = whole.read_bytes()
        for size in (0, 100, 140, 400, len(data) // 2, len(data) - 200):
            whole.write_bytes(data[:size])
            with pytest.raises(BrokenImage):
                display_image(whole)


@pytest.mark.parametrize(
    "keyword", ["Rows", "Columns", "BitsAllocated", "BitsStored", "PhotometricInterpretation", "PixelData"]
)
def test_a_missing_attribute_is_named(keyword: str) -> None:
    name = "pixel data" if keyword == "PixelData" else keyword
    absent: dict[str, Any] = {keyword: None}
    with pytest.raises(BrokenImage, match=f"{name} missing"):
        display_image(synthetic_film(1, **absent))


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"BitsAllocated": 32}, "32 bits allocated"),
        ({"BitsAllocated": 1}, "1 bits allocated"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "photometric PALETTE COLOR"),
    ],
)
def test_layouts_that_no_radiograph_has_are_unsupported(attributes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnsupportedImage) as refused:
        display_image(synthetic_film(1, **attributes))
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"BitsStored": 0}, "bits stored out of range"),
        ({"BitsStored": 17}, "bits stored out of range"),
        ({"HighBit": 3}, "high bit out of range"),
        ({"HighBit": 40}, "high bit out of range"),
        ({"SamplesPerPixel": 3}, "samples per pixel contradict"),
        ({"Rows": 0}, "size out of range"),
        ({"NumberOfFrames": -1}, "size out of range"),
    ],
)
def test_attributes_that_contradict_each_other_are_refused(attributes: dict[str, Any], reason: str) -> None:
    with pytest.raises(BrokenImage) as refused:
        display_image(synthetic_film(1, **attributes))
    assert refused.value.reason == reason


def test_an_unknown_transfer_syntax_is_unsupported() -> None:
    film = synthetic_film(1)
    film.file_meta.TransferSyntaxUID = UID("1.2.3.4.5")
    with pytest.raises(UnsupportedImage, match=r"transfer syntax not decodable: 1\.2\.3\.4\.5"):
        display_image(film)


def test_what_is_not_dicom_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a film " * 100)
    with pytest.raises(BrokenImage, match="not DICOM"):
        display_image(path)
    with pytest.raises(BrokenImage, match="not DICOM"):
        display_image(io.BytesIO(path.read_bytes()))


def test_a_stream_is_read_like_a_file(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.dcm", 3)
    assert display_image(io.BytesIO(path.read_bytes())).pixel_sha256 == display_image(path).pixel_sha256


def test_random_damage_never_raises_anything_else(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for number, syntax in enumerate([*LOSSLESS, JPEGBaseline8Bit]):
        film = (
            jpeg_film()
            if syntax == JPEGBaseline8Bit
            else synthetic_film(1, rows=32, columns=32, transfer_syntax_uid=syntax)
        )
        whole = save(film, tmp_path / f"{number}.dcm").read_bytes()
        for _ in range(20):
            damaged = bytearray(whole)
            for at in random.integers(132, len(whole), 12):
                damaged[at] = random.integers(256)
            path = tmp_path / "damaged.dcm"
            path.write_bytes(bytes(damaged))
            try:
                dataset = read_dataset(path)
                check_frontal_chest(dataset)
                image = display_image(dataset, max_pixels=10_000_000)
            except NotIndexable:
                continue
            assert np.isfinite(image.values).all()


def test_messages_and_logs_hold_nothing_of_the_patient(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.DEBUG)
    film = jpeg_film(PatientName="Secret^Person", PatientID="SECRET-1")
    film.PixelData = encapsulate([b"\xff\xd8" + b"Secret^Person" * 20 + b"\xff\xd9"])
    with pytest.raises(BrokenImage) as refused:
        display_image(save(film, tmp_path / "film.dcm"))
    assert "ecret" not in str(refused.value) + caplog.text


def test_a_frame_header_is_read_behind_other_segments() -> None:
    buffer = io.BytesIO()
    Image.new("L", (30, 20)).save(buffer, "JPEG", comment=b"x" * 300, progressive=True)
    header = read_frame_header(buffer.getvalue(), JPEGBaseline8Bit)
    assert header is not None
    assert (header.rows, header.columns, header.samples) == (20, 30, 1)


def test_large_native_films_are_displayed_fast() -> None:
    film = synthetic_film(1, rows=1955, columns=1841)
    began = time.process_time()
    for _ in range(3):
        display_image(film)
    assert (time.process_time() - began) / 3 < 0.2  # 15 ms on an idle core


def test_the_pipeline_has_a_name() -> None:
    assert len(PIPELINE_HASH) == 16
