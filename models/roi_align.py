"""RoIAlign as two small matrix products: bilinear weights along y, then along x.

Shape letters: B images, R boxes per image, C channels, H x W feature map, P pooled side.
"""

import torch
from torch import Tensor

SAMPLES_PER_BIN = 2


def roi_align(feature: Tensor, boxes: Tensor, *, size: int, stride: int) -> Tensor:
    """Map features (B, C, H, W) and boxes (B, R, 4) in input pixels to (B, R, C, P, P), with P = `size`.

    Each bin averages 2 x 2 bilinear samples; feature cell i is centred on input pixel (i + 0.5) * `stride`.
    Samples more than one cell outside the map count as 0, as in Mask R-CNN's aligned form.
    """
    height, width = feature.shape[-2:]
    scaled = boxes.to(feature.dtype) / stride
    along_y = axis_weights(scaled[..., 1], scaled[..., 3], height, size)  # (B, R, P, H)
    along_x = axis_weights(scaled[..., 0], scaled[..., 2], width, size)  # (B, R, P, W)
    b, c = feature.shape[:2]
    r = boxes.shape[1]
    rows = feature.permute(0, 2, 1, 3).reshape(b, height, c * width)
    pooled = torch.bmm(along_y.reshape(b, r * size, height), rows)  # (B, R*P, C*W)
    pooled = pooled.reshape(b, r, size * c, width) @ along_x.transpose(-1, -2)  # (B, R, P*C, P)
    return pooled.reshape(b, r, size, c, size).transpose(2, 3)


def axis_weights(start: Tensor, stop: Tensor, cells: int, size: int) -> Tensor:
    """Return the weights (..., P, cells) that average a line of `cells` cells over P bins of [start, stop) (...)."""
    count = size * SAMPLES_PER_BIN
    steps = (torch.arange(count, device=start.device, dtype=start.dtype) + 0.5) / count
    at = start[..., None] + steps * (stop - start)[..., None] - 0.5  # (..., P*samples), in cells
    inside = (at >= -1.0) & (at <= cells)
    at = at.clamp(0, cells - 1)
    grid = torch.arange(cells, device=start.device, dtype=start.dtype)
    weights = (1 - (at[..., None] - grid).abs()).clamp(min=0) * inside[..., None]
    return weights.reshape(*start.shape, size, SAMPLES_PER_BIN, cells).mean(dim=-2)
