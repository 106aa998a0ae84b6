"""A map over a picture."""

import numpy as np
import pytest

from regionmir.pixels.heat import heat_picture

GREY = np.full((40, 30), 0.5, dtype=np.float32)


def test_warm_cells_turn_red_cold_ones_blue_and_zero_stays_grey() -> None:
    cells = np.array([[1.0, 1.0], [-1.0, -1.0]], dtype=np.float32)
    drawn = np.asarray(heat_picture(GREY, cells)).astype(int)
    assert drawn.shape == (40, 30, 3)
    assert drawn[2, 15, 0] > drawn[2, 15, 2] + 50
    assert drawn[37, 15, 2] > drawn[37, 15, 0] + 50
    flat = np.asarray(heat_picture(GREY, np.zeros((2, 2), dtype=np.float32)))
    assert (flat == 128).all()


def test_an_empty_crop_is_refused() -> None:
    with pytest.raises(ValueError, match="matrices"):
        heat_picture(np.zeros((0, 4), dtype=np.float32), np.zeros((2, 2), dtype=np.float32))
