"""A feature pyramid that adds what the coarse maps know to the fine one.

Shape letters: B images, S side of the input, C channels (`width`).
"""

import torch.nn.functional as F
from torch import Tensor, nn

from models.backbone import OUTPUT_WIDTHS

STRIDE = 8
_GROUPS = 8


def conv_norm(width_in: int, width: int, kernel: int = 3) -> nn.Sequential:
    """Return convolution, group normalisation (no statistics of the batch), ReLU; the map's size is kept."""
    return nn.Sequential(
        nn.Conv2d(width_in, width, kernel, padding=kernel // 2, bias=False),
        nn.GroupNorm(_GROUPS, width),
        nn.ReLU(inplace=True),
    )


class Pyramid(nn.Module):
    """Two maps of stride 8, one to find regions and one to describe them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(w, width, 1) for w in OUTPUT_WIDTHS)
        self.to_detect = conv_norm(width, width)
        self.to_embed = conv_norm(width, width)

    def forward(self, maps: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Map the backbone's maps of strides 8, 16, 32 to two maps (B, C, S/8, S/8)."""
        merged: Tensor = self.lateral[2](maps[2])
        for level in (1, 0):
            merged = self.lateral[level](maps[level]) + F.interpolate(merged, size=maps[level].shape[-2:])
        return self.to_detect(merged), self.to_embed(merged)
