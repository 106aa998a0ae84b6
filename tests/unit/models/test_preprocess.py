"""The way into the model's square and back."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from models.preprocess import prepare, preprocessing_hash
from models.square import MAX_STRETCH, PERCENTILES, Letterbox, square
from regionmir.core.geometry import Box

sizes = st.integers(min_value=3, max_value=5000)
fractions = st.floats(min_value=0, max_value=0.4)


@given(width=sizes, height=sizes, x=fractions, y=fractions)
def test_a_box_comes_back_from_the_input_where_it_was(width: int, height: int, x: float, y: float) -> None:
    letterbox = Letterbox.of(width, height, 256)
    box = Box(x * width, y * height, (x + 0.5) * width, (y + 0.5) * height)
    back = letterbox.to_image(letterbox.to_input(box))
    assert back.as_tuple() == pytest.approx(box.as_tuple(), abs=1e-6 * max(width, height))


@given(width=sizes, height=sizes)
def test_the_whole_image_fills_its_part_of_the_square(width: int, height: int) -> None:
    letterbox = Letterbox.of(width, height, 256)
    inner = letterbox.to_input(Box(0, 0, width, height))
    assert max(inner.width, inner.height) == pytest.approx(256)
    assert inner.x0 >= 0
    assert inner.y0 >= 0
    assert inner.x1 <= 256 + 1e-6
    assert inner.y1 <= 256 + 1e-6


def test_a_film_is_stretched_to_a_square_and_a_very_long_one_keeps_a_margin() -> None:
    assert Letterbox.of(800, 600, 256) == Letterbox(256 / 800, 256 / 600, 0, 0, 256, 256)
    long = Letterbox.of(900, 300, 300)
    assert (long.width, long.height) == (300, round(300 * MAX_STRETCH / 3))
    assert (long.left, long.top) == (0, (300 - long.height) // 2)


def test_a_bright_rectangle_lands_where_the_letterbox_says() -> None:
    image = np.zeros((300, 900), dtype=np.float32)
    image[60:240, 300:600] = 1
    made = prepare(image, 256)
    inside = made.letterbox.to_input(Box(300, 60, 600, 240))
    bright = (made.values > 0.5).nonzero()
    (y0, x0), (y1, x1) = bright.min(dim=0).values.tolist(), bright.max(dim=0).values.tolist()
    assert (x0, y0, x1 + 1, y1 + 1) == pytest.approx(inside.as_tuple(), abs=1.5)


@pytest.mark.parametrize("shape", [(371, 512), (1500, 1100), (40, 30), (300, 900)])
def test_a_square_is_what_an_antialiased_resize_by_torch_gives(shape: tuple[int, int]) -> None:
    """Models were trained on those: another resize would be another preprocessing."""
    image = np.random.default_rng(0).random(shape).astype(np.float32)
    made = square(image, 256)
    size = (made.letterbox.height, made.letterbox.width)
    inner = F.interpolate(torch.from_numpy(image)[None, None], size=size, mode="bilinear", antialias=True)[0, 0]
    low, high = np.percentile(inner.numpy(), PERCENTILES)
    stretched = ((inner - float(low)) / float(high - low)).clamp(0, 1).numpy()
    top, left = made.letterbox.top, made.letterbox.left
    np.testing.assert_allclose(made.values[top : top + size[0], left : left + size[1]], stretched, atol=2e-5)


def test_window_and_offset_of_the_values_do_not_matter() -> None:
    image = np.random.default_rng(0).random((200, 160)).astype(np.float32)
    torch.testing.assert_close(prepare(image, 64).values, prepare(image * 0.3 + 0.2, 64).values, atol=1e-4, rtol=0)


def test_an_image_without_contrast_is_blank() -> None:
    assert prepare(np.full((50, 70), 0.4, dtype=np.float32), 64).blank


@pytest.mark.parametrize("shape", [(0, 5), (4,), (4, 4, 3)])
def test_what_is_no_matrix_of_grey_values_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="grey values"):
        prepare(np.zeros(shape, dtype=np.float32), 64)


def test_values_that_are_not_finite_are_refused() -> None:
    image = np.ones((20, 20), dtype=np.float32)
    image[3, 4] = np.nan
    with pytest.raises(ValueError, match="finite"):
        prepare(image, 64)


def test_another_side_is_another_preprocessing() -> None:
    assert preprocessing_hash(256) != preprocessing_hash(320)
