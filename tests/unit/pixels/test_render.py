"""Pictures show the film as viewed, with boxes where the stored pixels have them."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from regionmir.core.errors import InvalidBox
from regionmir.core.geometry import Box
from regionmir.pixels.decode import DisplayImage, display_image
from regionmir.pixels.draw import HIT, QUERY, Mark
from regionmir.pixels.render import Panel, comparison_sheet, png
from tests.support.films import synthetic_film

BOX = Box(40, 60, 120, 180)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def image(seed: int = 1, **attributes: Any) -> DisplayImage:
    return display_image(synthetic_film(seed, **attributes))


def coloured(picture: Image.Image, colour: tuple[int, int, int]) -> np.ndarray:
    return np.asarray(np.all(np.asarray(picture.convert("RGB")) == colour, axis=-1))


def test_a_film_without_boxes_is_a_grey_picture_of_its_values() -> None:
    film = image()
    picture = opened(png(film))
    assert (picture.mode, picture.size) == ("L", (256, 256))
    np.testing.assert_allclose(np.asarray(picture) / 255, film.values, atol=0.003)


def test_a_picture_is_scaled_to_its_longer_side_and_never_enlarged() -> None:
    film = image(rows=200, columns=100)
    assert opened(png(film, size=50)).size == (25, 50)
    assert opened(png(film, size=5000)).size == (100, 200)


def test_a_box_is_drawn_where_it_lies() -> None:
    drawn = coloured(opened(png(image(), [BOX])), HIT)
    ys, xs = np.nonzero(drawn)
    assert (xs.min(), xs.max() + 1, ys.min(), ys.max() + 1) == (40, 120, 60, 180)


def test_a_box_of_a_mirrored_film_is_drawn_on_the_other_side() -> None:
    drawn = coloured(opened(png(image(PatientOrientation=["R", "F"]), [BOX])), HIT)
    xs = np.nonzero(drawn)[1]
    assert (xs.min(), xs.max() + 1) == (256 - 120, 256 - 40)


def test_boxes_scale_with_the_picture_and_carry_labels() -> None:
    plain = coloured(opened(png(image(), [Mark(BOX)], size=128)), HIT)
    labelled = coloured(opened(png(image(), [Mark(BOX, "LLLZ 0.98")], size=128)), HIT)
    assert np.nonzero(plain)[1].min() == 20
    assert labelled.sum() > plain.sum() + 100


def test_a_crop_holds_the_region_and_nothing_beyond_it() -> None:
    film = image()
    picture = opened(png(film, crop=BOX))
    assert picture.size == (80, 120)
    np.testing.assert_allclose(np.asarray(picture) / 255, film.values[60:180, 40:120], atol=0.003)
    with pytest.raises(InvalidBox):
        png(film, crop=Box(300, 300, 400, 400))


def test_a_box_inside_a_crop_moves_with_it() -> None:
    drawn = coloured(opened(png(image(), [BOX], crop=BOX.widened(0.5))), HIT)
    ys, xs = np.nonzero(drawn)
    assert (xs.min(), ys.min()) == (20, 30)


def test_an_array_may_stand_for_a_film() -> None:
    assert opened(png(np.zeros((30, 40), np.float32), [Box(1, 1, 5, 5)])).size == (40, 30)


@pytest.mark.parametrize("count", [0, 1, 3, 5, 10])
def test_the_sheet_has_a_cell_per_hit(count: int) -> None:
    hits = [Panel(image(n), BOX, rank=n, similarity=0.9, caption=f"study {n}") for n in range(1, count + 1)]
    sheet = opened(comparison_sheet(Panel(image(0), BOX, caption="asked"), hits, title="left lower lung zone"))
    marks = coloured(sheet, HIT)
    assert coloured(sheet, QUERY).any()
    assert marks.any() == (count > 0)
    assert sheet.width >= 900


def test_every_hits_crop_is_marked_within_its_pixels() -> None:
    bright = np.full((200, 200), 1.0, np.float32)
    unmarked = comparison_sheet(Panel(bright, BOX), [], show_films=False)
    marked = comparison_sheet(Panel(bright, BOX), [Panel(bright, BOX, rank=1, similarity=1.0)], show_films=False)
    ours = np.asarray(opened(marked).convert("L"))
    assert (ours == 255).sum() > (np.asarray(opened(unmarked).convert("L")) == 255).sum()
    column = ours[:, 500]  # through the middle of the first hit's crop
    crop = np.nonzero(column == 255)[0]
    assert column[crop.max() + 5] < 128  # the strip lies below, over pixels that were white


def test_without_films_a_sheet_shows_no_pixel_outside_the_regions() -> None:
    film = np.zeros((200, 200), np.float32)
    film[:40] = 1.0  # bright, and outside the box
    dark = comparison_sheet(Panel(film, Box(0, 50, 200, 200)), [], show_films=False)
    shown = comparison_sheet(Panel(film, Box(0, 50, 200, 200)), [])
    assert np.asarray(opened(dark).convert("L"))[100:].max() < 255
    assert np.asarray(opened(shown).convert("L"))[100:].max() == 255


def test_a_box_beyond_the_edge_is_cut_and_long_titles_too() -> None:
    panel = Panel(image(), Box(-20, -20, 60, 400), caption="x" * 500)
    assert opened(comparison_sheet(panel, [panel], title="y" * 500, coverage="412 of 430 indexed")).width == 900
