"""A rendition is small, and what is cut from it shows what the whole film shows there."""

import io

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from regionmir.core.geometry import Box
from regionmir.pixels import draw
from regionmir.pixels.decode import DisplayImage, display_image
from regionmir.pixels.orientation import Turn
from regionmir.pixels.rendition import RENDITION_PX, rendition, small_film, small_part, stored_values, whole_film
from tests.support.films import synthetic_film

ROWS, COLUMNS = 1000, 800
PLAIN = Turn()
ON_ITS_SIDE = Turn(transposed=True, columns_reversed=True)


def film(turn: Turn = PLAIN) -> DisplayImage:
    """Return a synthetic film of 1000 x 800 stored pixels, as it is viewed after `turn`."""
    seen = display_image(synthetic_film(3, rows=ROWS, columns=COLUMNS, bits=12)).values
    return DisplayImage(np.ascontiguousarray(turn.apply(seen)), "", (ROWS, COLUMNS), turn, "")


def opened(content: bytes) -> npt.NDArray[np.float32]:
    with Image.open(io.BytesIO(content)) as picture:
        assert (picture.format, picture.mode) == ("JPEG", "L")
        return np.asarray(picture, np.float32)


def straight(image: DisplayImage, box: Box, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Return a box of the stored film as viewed, scaled to `shape` from all of its pixels."""
    part = draw.grey(draw.cropped(image, box))
    return np.asarray(part.resize((shape[1], shape[0]), Image.Resampling.LANCZOS), np.float32)


def test_a_rendition_is_small_grey_and_in_stored_orientation() -> None:
    for turn in (PLAIN, ON_ITS_SIDE):
        content = rendition(film(turn))
        assert stored_values(content).shape == (RENDITION_PX, RENDITION_PX * COLUMNS // ROWS)
        assert len(content) < 60_000
    same = rendition(film(PLAIN)), rendition(film(ON_ITS_SIDE))
    assert same[0] == same[1]


def test_a_film_smaller_than_a_rendition_keeps_its_size() -> None:
    image = display_image(synthetic_film(1, rows=120, columns=90))
    assert stored_values(rendition(image)).shape == (120, 90)
    assert opened(small_film(rendition(image), PLAIN, 224)).shape == (120, 90)


@pytest.mark.parametrize("turn", [PLAIN, ON_ITS_SIDE, Turn(rows_reversed=True), Turn(columns_reversed=True)])
def test_what_is_cut_from_a_rendition_looks_as_if_it_were_cut_from_the_film(turn: Turn) -> None:
    image = film(turn)
    content = rendition(image)
    whole, part = Box(0, 0, COLUMNS, ROWS), Box(400, 550, 720, 950)
    thumbnail = opened(small_film(content, turn, 224))
    crop = opened(small_part(content, part, ROWS, COLUMNS, turn, 224))
    assert max(thumbnail.shape) == max(crop.shape) == 224
    for seen, box in ((thumbnail, whole), (crop, part)):
        assert (seen.shape[0] > seen.shape[1]) is not turn.transposed
        difference = np.abs(seen - straight(image, box, seen.shape))
        assert difference.mean() < 3, "grey values of 255"


@pytest.mark.parametrize("size", [360, 300, 180, 90, 40])
def test_a_small_picture_shows_the_same_whatever_its_size(size: int) -> None:
    image, content = film(), rendition(film())
    part = Box(100, 200, 700, 950)
    for seen, box in (
        (opened(small_film(content, PLAIN, size)), Box(0, 0, COLUMNS, ROWS)),
        (opened(small_part(content, part, ROWS, COLUMNS, PLAIN, size)), part),
    ):
        assert max(seen.shape) == size
        assert np.abs(seen - straight(image, box, seen.shape)).mean() < 4, "grey values of 255"


def test_a_whole_film_is_its_rendition_as_viewed() -> None:
    content = rendition(film())
    assert whole_film(content, PLAIN) is content
    turned = opened(whole_film(content, ON_ITS_SIDE))
    assert np.abs(turned - ON_ITS_SIDE.apply(opened(content))).mean() < 1, "grey values of 255"


def test_a_part_with_few_pixels_is_not_blown_up() -> None:
    assert opened(small_part(rendition(film()), Box(0, 0, 80, 100), ROWS, COLUMNS, PLAIN, 224)).shape == (72, 58)
