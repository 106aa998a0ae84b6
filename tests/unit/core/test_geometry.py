import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regionmir.core.errors import InvalidBox
from regionmir.core.geometry import Box

edges = st.floats(-1e4, 1e4)
sizes = st.floats(0.5, 1e4)
boxes = st.builds(lambda x, y, w, h: Box(x, y, x + w, y + h), edges, edges, sizes, sizes)


@pytest.mark.parametrize("edge", [(0, 0, 0, 5), (0, 0, 5, -1), (math.nan, 0, 1, 1), (0, 0, math.inf, 1)])
def test_a_box_without_area_or_not_finite_is_refused(edge: tuple[float, float, float, float]) -> None:
    with pytest.raises(InvalidBox):
        Box(*edge)


@given(boxes, boxes)
def test_iou_is_symmetric_and_between_zero_and_one(a: Box, b: Box) -> None:
    assert a.iou(b) == pytest.approx(b.iou(a))
    assert 0 <= a.iou(b) <= 1 + 1e-9
    assert a.iou(a) == pytest.approx(1)


def test_boxes_that_only_touch_share_nothing() -> None:
    assert Box(0, 0, 2, 2).iou(Box(2, 0, 4, 2)) == 0


def test_clipping_keeps_the_part_inside_the_image() -> None:
    assert Box(-3, 2, 50, 9).clipped(10, 8) == Box(0, 2, 10, 8)
    with pytest.raises(InvalidBox):
        Box(11, 0, 12, 1).clipped(10, 10)


def test_widening_keeps_the_centre() -> None:
    assert Box(10, 10, 20, 30).widened(0.1) == Box(9.5, 9, 20.5, 31)
