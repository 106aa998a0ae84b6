"""What crosses from the sandbox of a worker: a film as its model sees it, and the film's rendition."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.square import Square, square
from regionmir.pixels.decode import display_image
from regionmir.pixels.layout import DEFAULT_MAX_PIXELS
from regionmir.pixels.rendition import rendition
from tests.support.films import save, synthetic_film
from workers import reading
from workers.reading import Film, Wanted, read_object


def read(path: Path, wanted: Wanted) -> Film:
    film = read_object(path, "", DEFAULT_MAX_PIXELS, wanted)
    assert isinstance(film, Film)
    return film


def test_a_model_with_a_side_is_given_the_square_that_it_would_make_itself(tmp_path: Path) -> None:
    path = save(synthetic_film(3, rows=400, columns=200), tmp_path / "film.dcm")
    image = display_image(path)
    film, expected = read(path, Wanted(96, rendition=True)), square(image.values, 96)
    assert isinstance(film.seen, Square)
    np.testing.assert_array_equal(film.seen.values, expected.values)
    assert (film.seen.letterbox, film.seen.blank) == (expected.letterbox, expected.blank)
    assert film.rendition == rendition(image)
    assert (film.pixel_sha256, film.stored_size) == (image.pixel_sha256, (400, 200))


def test_a_model_without_one_is_given_the_display_values(tmp_path: Path) -> None:
    path = save(synthetic_film(3, rows=60, columns=50), tmp_path / "film.dcm")
    film = read(path, Wanted())
    np.testing.assert_array_equal(film.seen, display_image(path).values)
    assert film.rendition is None


def test_a_film_whose_rendition_cannot_be_drawn_is_read_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(synthetic_film(3, rows=60, columns=50), tmp_path / "film.dcm")
    monkeypatch.delattr(reading, "rendition")
    answer = reading._read(str(path), "", DEFAULT_MAX_PIXELS, Wanted(32, rendition=True))
    film = reading._film(answer.values, memoryview(answer.content))
    assert film.rendition is None
    assert isinstance(film.seen, Square)


def test_a_child_that_reads_films_loads_no_torch() -> None:
    """It would take seconds and much of the memory that a child may use."""
    loaded = "import sys, workers.reading; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loaded], check=False).returncode == 0
