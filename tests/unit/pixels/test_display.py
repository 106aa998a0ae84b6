"""Stored values become display values as PS3.3 C.11 has it."""

import struct
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from regionmir.pixels.decode import display_image
from tests.support.films import synthetic_film

RAMP = np.arange(256, dtype=np.uint16).reshape(16, 16) * 16  # 0..4080 in 12 bits


def film(stored: np.ndarray = RAMP, **attributes: Any) -> Dataset:
    """Return a 16-bit film of exactly these stored values, without window and presentation LUT shape."""
    defaults = {"WindowCenter": None, "WindowWidth": None, "PresentationLUTShape": None}
    made = synthetic_film(1, rows=stored.shape[0], columns=stored.shape[1], **{**defaults, **attributes})
    made.PixelData = stored.astype("<u2" if stored.dtype.kind == "u" else "<i2").tobytes()
    return made


def shown(**attributes: Any) -> np.ndarray:
    return display_image(film(**attributes)).values


def lut(first: int, entries: list[int], bits: int, keyword: str = "LUTData") -> Sequence:
    item = Dataset()
    item.add_new(0x00283002, "US", [len(entries), first, bits])
    item.add_new(0x00283006, "US", entries)
    return Sequence([item])


def test_linear_window_follows_the_formula_of_the_standard() -> None:
    centre, width = 2000.0, 1000.0
    values = shown(WindowCenter="2000", WindowWidth="1000")
    x = RAMP.astype(float)
    expected = np.where(
        x <= centre - 0.5 - (width - 1) / 2,
        0.0,
        np.where(x > centre - 0.5 + (width - 1) / 2, 1.0, (x - (centre - 0.5)) / (width - 1) + 0.5),
    )
    np.testing.assert_allclose(values, expected, atol=1e-6)


def test_linear_exact_window_has_no_half_pixel() -> None:
    values = shown(WindowCenter="2000", WindowWidth="1000", VOILUTFunction="LINEAR_EXACT")
    np.testing.assert_allclose(values, np.clip((RAMP - 2000.0) / 1000 + 0.5, 0, 1), atol=1e-6)


def test_sigmoid_window_never_quite_saturates() -> None:
    values = shown(WindowCenter="2000", WindowWidth="1000", VOILUTFunction="SIGMOID")
    np.testing.assert_allclose(values, 1 / (1 + np.exp(-4 * (RAMP - 2000.0) / 1000)), atol=1e-6)


def test_the_first_of_several_windows_is_taken() -> None:
    both = shown(WindowCenter=["2000", "100"], WindowWidth=["1000", "50"])
    np.testing.assert_array_equal(both, shown(WindowCenter="2000", WindowWidth="1000"))


def test_rescale_comes_before_the_window() -> None:
    rescaled = shown(RescaleSlope="2", RescaleIntercept="-1000", WindowCenter="3000", WindowWidth="2000")
    np.testing.assert_allclose(rescaled, np.clip((2.0 * RAMP - 1000 - 2999.5) / 1999 + 0.5, 0, 1), atol=1e-6)


def test_a_rescale_slope_of_zero_is_not_obeyed() -> None:
    np.testing.assert_array_equal(shown(RescaleSlope="0", RescaleIntercept="5"), shown())


def test_modality_lut_maps_stored_values_and_holds_its_ends() -> None:
    table = [10 * i for i in range(1000)]
    values = shown(ModalityLUTSequence=lut(500, table, 16), WindowCenter="5000", WindowWidth="10000")
    modality = 10.0 * np.clip(RAMP.astype(float) - 500, 0, 999)
    np.testing.assert_allclose(values, np.clip((modality - 4999.5) / 9999 + 0.5, 0, 1), atol=1e-6)


def test_voi_lut_wins_over_the_window() -> None:
    entries = [min(4095, 4095 * i * i // 4095**2) for i in range(4096)]
    values = shown(VOILUTSequence=lut(0, entries, 12), WindowCenter="1", WindowWidth="1")
    np.testing.assert_allclose(values, np.array(entries)[RAMP] / 4095, atol=1e-6)


def test_voi_lut_of_packed_words_reads_like_one_of_numbers() -> None:
    entries = [4095 - i for i in range(4096)]
    packed = lut(0, entries, 12)
    del packed[0][0x00283006]
    packed[0].add_new(0x00283006, "OW", struct.pack("<4096H", *entries))
    np.testing.assert_array_equal(shown(VOILUTSequence=packed), shown(VOILUTSequence=lut(0, entries, 12)))


def test_a_voi_lut_that_is_too_short_gives_way_to_the_window() -> None:
    broken = lut(0, [1, 2, 3], 12)
    broken[0].LUTDescriptor = [4096, 0, 12]
    values = shown(VOILUTSequence=broken, WindowCenter="2000", WindowWidth="1000")
    np.testing.assert_array_equal(values, shown(WindowCenter="2000", WindowWidth="1000"))


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted"),
    [
        ("MONOCHROME2", None, False),
        ("MONOCHROME1", None, True),
        ("MONOCHROME1", "INVERSE", True),  # said twice, done once
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME1", "IDENTITY", False),
        ("MONOCHROME1", "LIN OD", True),  # no shape of an image: ignored
    ],
)
def test_lut_shape_and_monochrome1_invert_once(photometric: str, shape: str | None, inverted: bool) -> None:
    window = {"WindowCenter": "2048", "WindowWidth": "4096"}
    plain = shown(**window)
    values = shown(PhotometricInterpretation=photometric, PresentationLUTShape=shape, **window)
    np.testing.assert_allclose(values, 1 - plain if inverted else plain, atol=1e-6)


def test_eight_bits_without_a_window_are_shown_over_their_whole_range() -> None:
    grey = synthetic_film(1, rows=16, columns=16, bits=8, WindowCenter=None, WindowWidth=None)
    stored = np.arange(40, 168, dtype=np.uint8).repeat(2).reshape(16, 16)
    grey.PixelData = stored.tobytes()
    np.testing.assert_allclose(display_image(grey).values, stored / 255, atol=1e-6)


def test_deeper_pixels_without_a_window_are_stretched_over_what_they_hold() -> None:
    stored = np.linspace(1000, 3000, 10_000).astype(np.uint16).reshape(100, 100)
    stored[0, 0] = 4095  # one hot pixel must not darken the film
    values = display_image(film(stored)).values
    assert values.min() == 0
    assert values[50, 50] == pytest.approx(0.5, abs=0.02)
    assert values[0, 0] == 1


@pytest.mark.parametrize(("centre", "width"), [("100000", "10"), ("-5000", "100")])
def test_a_window_beside_all_values_is_a_mistake_and_not_followed(centre: str, width: str) -> None:
    np.testing.assert_array_equal(shown(WindowCenter=centre, WindowWidth=width), shown())


@pytest.mark.parametrize("width", ["0", "-3", ""])
def test_a_window_without_width_is_as_no_window(width: str) -> None:
    np.testing.assert_array_equal(shown(WindowCenter="500", WindowWidth=width), shown())


def test_signed_values_are_windowed_as_signed() -> None:
    stored = (RAMP.astype(np.int32) - 2040).astype(np.int16)
    values = shown(stored=stored, PixelRepresentation=1, WindowCenter="0", WindowWidth="2000")
    np.testing.assert_allclose(values, np.clip((stored + 0.5) / 1999 + 0.5, 0, 1), atol=1e-6)


def test_sixteen_signed_bits_reach_both_ends() -> None:
    stored = np.linspace(-32768, 32767, 256).astype(np.int16).reshape(16, 16)
    values = shown(stored=stored, PixelRepresentation=1, BitsStored=16, HighBit=15)
    assert (values.min(), values.max()) == (0, 1)
    assert np.all(np.diff(values.ravel()) >= 0)


def test_padding_is_black_and_not_part_of_the_range() -> None:
    stored = RAMP // 8 + 1000
    stored[:4] = 0
    values = shown(stored=stored, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=0)
    assert not values[:4].any()
    assert values[4:].max() == pytest.approx(1, abs=0.01)


def test_a_constant_image_is_black_not_an_error() -> None:
    assert not shown(stored=np.full((8, 8), 700, np.uint16)).any()


def test_old_overlays_in_the_high_bits_are_not_seen() -> None:
    window = {"WindowCenter": "2048", "WindowWidth": "4096"}
    covered = RAMP | np.uint16(0xF000)
    np.testing.assert_array_equal(shown(stored=covered, **window), shown(**window))


def test_values_kept_in_the_upper_bits_are_shifted_down() -> None:
    window = {"WindowCenter": "2048", "WindowWidth": "4096"}
    shifted = (RAMP << 4) | np.uint16(0x000F)
    np.testing.assert_array_equal(shown(stored=shifted, HighBit=15, **window), shown(**window))
