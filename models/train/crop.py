"""For an ablation: each region is cut out of the film and described by itself, instead of from the film's shared map.

Shape letters: B images, R boxes per image, S side of the input, P side of a crop.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from models.embedder import Embedder
from models.network import SLOTS, Features, NetworkConfig, RegionNetwork


class CropEmbedder(Embedder):
    """An embedder whose feature map is the film itself: it looks at a crop of each box, stretched to a square."""

    def __init__(self, network: RegionNetwork, config: NetworkConfig, crop_px: int) -> None:
        super().__init__(SLOTS, config.width, config.parts, config.look_margin)
        self.crop_px = crop_px
        self.described_map: Any = network.described_map  # a method: the network's own layers are not registered twice

    def cells(self, feature: Tensor, boxes: Tensor) -> Tensor:
        """Return what `Embedder.cells` does, of films (B, 1, S, S) and boxes (B, R, 4) in input pixels."""
        crops = crops_of(feature, boxes, self.crop_px)  # (B * R, 1, P, P)
        whole = torch.tensor([[[0.0, 0, self.crop_px, self.crop_px]]], device=boxes.device).expand(len(crops), 1, 4)
        found = super().cells(self.described_map(crops), whole)  # (B * R, 1, 2C, P, P)
        return found.reshape(*boxes.shape[:2], *found.shape[2:])


class CropNetwork(RegionNetwork):
    """A `RegionNetwork` that describes regions from crops; what finds them is unchanged."""

    def __init__(self, config: NetworkConfig, crop_px: int) -> None:
        super().__init__(config)
        self.embedder = CropEmbedder(self, config, crop_px)

    def features(self, image: Tensor) -> Features:
        """Return features of which the map to describe is `image` (B, 1, S, S) itself."""
        return super().features(image)._replace(embed=image)

    def described_map(self, crops: Tensor) -> Tensor:
        """Map crops (N, 1, P, P) to the maps (N, 2C, P/8, P/8) that regions are described from."""
        found, described = self.pyramid(self.backbone(crops))
        return torch.cat([described, found], dim=1)


def crops_of(images: Tensor, boxes: Tensor, side: int) -> Tensor:
    """Return `boxes` (B, R, 4) in pixels of `images` (B, 1, S, S), each stretched to `side`: (B * R, 1, P, P)."""
    low, high = boxes.flatten(0, 1).chunk(2, dim=-1)  # (B * R, 2) each
    scale, shift = (high - low) / images.shape[-1], (low + high) / images.shape[-1] - 1
    affine = torch.cat([torch.diag_embed(scale), shift[..., None]], dim=-1)
    grid = F.affine_grid(affine, [len(affine), 1, side, side], align_corners=False)
    return F.grid_sample(images.float().repeat_interleave(boxes.shape[1], dim=0), grid, align_corners=False)
