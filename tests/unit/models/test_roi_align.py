"""RoIAlign against a slow reference that samples one point at a time."""

import math

import pytest
import torch
from torch import Tensor

from models.roi_align import SAMPLES_PER_BIN, axis_weights, roi_align


def _bilinear(feature: Tensor, y: float, x: float) -> Tensor:
    """Return the (C,) value at a point given in cells, as torchvision's aligned RoIAlign takes it."""
    height, width = feature.shape[-2:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return torch.zeros(feature.shape[0])
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    y0, x0 = math.floor(y), math.floor(x)
    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
    fy, fx = y - y0, x - x0
    top = feature[:, y0, x0] * (1 - fx) + feature[:, y0, x1] * fx
    bottom = feature[:, y1, x0] * (1 - fx) + feature[:, y1, x1] * fx
    return top * (1 - fy) + bottom * fy


def _reference(feature: Tensor, box: list[float], size: int, stride: int) -> Tensor:
    x0, y0, x1, y1 = (v / stride - 0.5 for v in box)
    samples = [(i + 0.5) / SAMPLES_PER_BIN for i in range(SAMPLES_PER_BIN)]
    out = torch.zeros(feature.shape[0], size, size)
    for i in range(size):
        for j in range(size):
            points = [
                (y0 + (i + s) * (y1 - y0) / size, x0 + (j + t) * (x1 - x0) / size) for s in samples for t in samples
            ]
            out[:, i, j] = torch.stack([_bilinear(feature, y, x) for y, x in points]).mean(dim=0)
    return out


@pytest.mark.parametrize(
    "box", [[8.0, 8.0, 40.0, 72.0], [-20.0, -6.0, 30.0, 20.0], [50.0, 60.0, 95.0, 99.0], [9.0, 9.0, 10.0, 10.0]]
)
def test_equals_sampling_point_by_point(box: list[float]) -> None:
    feature = torch.randn(1, 3, 11, 9, generator=torch.Generator().manual_seed(3))
    pooled = roi_align(feature, torch.tensor([[box]]), size=5, stride=8)
    assert pooled.shape == (1, 1, 3, 5, 5)
    torch.testing.assert_close(pooled[0, 0], _reference(feature[0], box, 5, 8), atol=1e-5, rtol=1e-5)


def test_boxes_of_two_images_do_not_mix() -> None:
    feature = torch.stack([torch.zeros(2, 8, 8), torch.ones(2, 8, 8)])
    pooled = roi_align(feature, torch.tensor([[[8.0, 8, 32, 32]], [[8.0, 8, 32, 32]]]), size=3, stride=8)
    assert float(pooled[0].abs().max()) == 0
    torch.testing.assert_close(pooled[1], torch.ones(1, 2, 3, 3))


def test_weights_inside_the_map_sum_to_one() -> None:
    weights = axis_weights(torch.tensor([1.0, 2.5]), torch.tensor([7.0, 3.0]), 10, 7)
    assert weights.shape == (2, 7, 10)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 7))
