"""Films come out with the patient's right on the left, and boxes go back to where they were stored."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regionmir.core.errors import UnsupportedImage
from regionmir.core.geometry import Box
from regionmir.pixels.decode import display_image
from regionmir.pixels.orientation import SIDE_NOT_STATED, turn_of
from tests.support.films import synthetic_film

VIEWED = np.arange(12, dtype=np.uint16).reshape(3, 4) * 300  # as a reader sees it: 3 rows, 4 columns

STORED = {
    ("L", "F"): VIEWED,
    ("R", "F"): VIEWED[:, ::-1],
    ("L", "H"): VIEWED[::-1],
    ("R", "H"): VIEWED[::-1, ::-1],
    ("F", "L"): VIEWED.T,
    ("F", "R"): VIEWED[:, ::-1].T,
    ("H", "L"): VIEWED[::-1].T,
    ("H", "R"): VIEWED[::-1, ::-1].T,
}


def film(orientation: tuple[str, str], stored: np.ndarray):  # type: ignore[no-untyped-def]
    rows, columns = stored.shape
    made = synthetic_film(1, rows=rows, columns=columns, PatientOrientation=list(orientation))
    made.PixelData = np.ascontiguousarray(stored).tobytes()
    return made


@pytest.mark.parametrize("orientation", STORED)
def test_every_frontal_orientation_is_turned_to_the_usual_one(orientation: tuple[str, str]) -> None:
    usual = display_image(film(("L", "F"), VIEWED)).values
    image = display_image(film(orientation, STORED[orientation]))
    np.testing.assert_array_equal(image.values, usual)
    assert image.values.flags.c_contiguous
    assert image.laterality_note == ("" if orientation == ("L", "F") else "turned from " + "\\".join(orientation))


@pytest.mark.parametrize("orientation", STORED)
def test_a_box_on_the_viewed_film_marks_the_same_pixels_in_the_stored_one(orientation: tuple[str, str]) -> None:
    stored = STORED[orientation]
    image = display_image(film(orientation, stored))
    box = Box(1, 0, 4, 2)
    back = image.to_stored(box)
    assert image.from_stored(back) == box
    inside = stored[int(back.y0) : int(back.y1), int(back.x0) : int(back.x1)]
    assert sorted(inside.ravel()) == sorted(VIEWED[0:2, 1:4].ravel())


def test_a_mirrored_film_says_that_it_was_flipped() -> None:
    image = display_image(film(("R", "F"), STORED["R", "F"]))
    assert image.flipped
    assert image.to_stored(Box(0, 0, 1, 3)) == Box(3, 0, 4, 3)
    assert not display_image(film(("L", "F"), VIEWED)).flipped


@given(
    orientation=st.sampled_from(sorted(STORED)),
    corner=st.tuples(st.floats(0, 2), st.floats(0, 1)),
    size=st.tuples(st.floats(0.1, 2), st.floats(0.1, 2)),
)
def test_boxes_survive_the_way_there_and_back(
    orientation: tuple[str, str], corner: tuple[float, float], size: tuple[float, float]
) -> None:
    turn, _ = turn_of(synthetic_film(1, rows=4, columns=4, PatientOrientation=list(orientation)))
    box = Box(*corner, corner[0] + size[0], corner[1] + size[1])
    rows, columns = STORED[orientation].shape
    again = turn.from_stored(turn.to_stored(box, rows, columns), rows, columns)
    assert again.as_tuple() == pytest.approx(box.as_tuple())


@pytest.mark.parametrize("value", [None, "", ["", ""]])
def test_an_orientation_that_nobody_states_is_marked_not_guessed(value: object) -> None:
    image = display_image(synthetic_film(1, PatientOrientation=value))
    assert image.laterality_note == SIDE_NOT_STATED
    assert not image.flipped


def test_minor_directions_do_not_matter() -> None:
    turn, note = turn_of(synthetic_film(1, PatientOrientation=["LA", "FP"]))
    assert (turn.columns_reversed, note) == (False, "")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (["A", "F"], "not a frontal orientation"),
        (["P", "F"], "not a frontal orientation"),
        (["L", "P"], "not a frontal orientation"),
        (["L", "R"], "patient orientation unreadable"),
        (["F", "F"], "patient orientation unreadable"),
        (["L", ""], "patient orientation unreadable"),
        ("L", "patient orientation unreadable"),
        (["LEFT", "FOOT"], "patient orientation unreadable"),
        (["L", "F", "X"], "patient orientation unreadable"),
    ],
)
def test_other_orientations_are_refused_with_a_reason(value: object, reason: str) -> None:
    with pytest.raises(UnsupportedImage) as refused:
        display_image(synthetic_film(1, PatientOrientation=value))
    assert refused.value.reason == reason


def test_a_flip_after_acquisition_needs_a_stated_orientation() -> None:
    stated = synthetic_film(1, FieldOfViewHorizontalFlip="YES")
    assert display_image(stated).laterality_note == ""
    with pytest.raises(UnsupportedImage, match="flipped, orientation not stated"):
        turn_of(synthetic_film(1, FieldOfViewHorizontalFlip="YES", PatientOrientation=None))
    turn, note = turn_of(synthetic_film(1, FieldOfViewHorizontalFlip="NO", PatientOrientation=None))
    assert (turn.columns_reversed, note) == (False, SIDE_NOT_STATED)


@pytest.mark.parametrize("orientation", STORED)
def test_what_was_turned_can_be_turned_back(orientation: tuple[str, str]) -> None:
    stored = STORED[orientation]
    turn, _ = turn_of(film(orientation, stored))
    np.testing.assert_array_equal(turn.undo(turn.apply(stored)), stored)
