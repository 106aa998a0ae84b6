"""Feature pyramids of stride 8: one map to find regions, one to describe them.

To find regions the whole film matters: the map adds what the coarsest maps know, and is normalised over the film. A
region's description must not depend on what lies outside it: its map uses the first two levels only, which see less
far, and normalises each place by itself.
Shape letters: B images, S side of the input, C channels (`width`).
"""

import torch.nn.functional as F
from torch import Tensor, nn

from models.backbone import OUTPUT_WIDTHS

STRIDE = 8
TO_FIND, TO_DESCRIBE = (0, 2, 3), (0, 1)
"""Which of the backbone's maps serve to find regions, and to describe them."""
_GROUPS = 8


def conv_norm(width_in: int, width: int, kernel: int = 3) -> nn.Sequential:
    """Return convolution, group normalisation (no statistics of the batch), ReLU; the map's size is kept."""
    return nn.Sequential(
        nn.Conv2d(width_in, width, kernel, padding=kernel // 2, bias=False),
        nn.GroupNorm(_GROUPS, width),
        nn.ReLU(inplace=True),
    )


class PlaceNorm(nn.LayerNorm):
    """Normalises the channels of each place by themselves: nothing is learnt of other places."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class TopDown(nn.Module):
    """Adds what coarse maps know to the finest one."""

    def __init__(self, widths: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(w, width, 1) for w in widths)

    def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
        """Map maps of falling size to one (B, C, H, W) of the first one's size."""
        merged: Tensor = self.lateral[-1](maps[-1])
        for lateral, level in zip(self.lateral[-2::-1], maps[-2::-1], strict=True):
            merged = lateral(level) + F.interpolate(merged, size=level.shape[-2:])
        return merged


class Pyramid(nn.Module):
    """Two maps of stride 8, one to find regions and one to describe them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.to_find = TopDown(tuple(OUTPUT_WIDTHS[i] for i in TO_FIND), width)
        self.to_describe = TopDown(tuple(OUTPUT_WIDTHS[i] for i in TO_DESCRIBE), width)
        self.detect = nn.Sequential(conv_norm(width, width), conv_norm(width, width))
        self.embed = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), PlaceNorm(width), nn.ReLU(inplace=True)
        )

    def forward(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Map the backbone's maps to two maps (B, C, S/8, S/8)."""
        find, describe = (tuple(maps[i] for i in chosen) for chosen in (TO_FIND, TO_DESCRIBE))
        return self.detect(self.to_find(find)), self.embed(self.to_describe(describe))
