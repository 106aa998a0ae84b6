"""The whole network: backbone, pyramid, detector, embedder. One forward pass serves them all.

Shape letters: B images, A anatomies (all 29), S side of the input, R boxes per image, D length of a vector.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.backbone import OUTPUT_WIDTHS, Backbone
from models.detector import Detection, Detector
from models.embedder import Embedder, Embedding, Parts
from models.pyramid import Pyramid
from regionmir.core.anatomy import anatomies

SLOTS = len(anatomies())


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """What fixes the shapes of all weights and the meaning of a vector."""

    side: int = 256
    width: int = 128
    dim: int = 128
    anatomy_dim: int = 32
    finding_dim: int = 32
    anatomy_share: float = 0.2
    finding_share: float = 0.2
    look_margin: int = 1
    """Of the cells of a region: how many along each edge its appearance leaves out"""

    @property
    def parts(self) -> Parts:
        """The parts of a vector; how a region looks has what the others leave."""
        shares = (self.anatomy_share, self.finding_share, 1 - self.anatomy_share - self.finding_share)
        return Parts(self.anatomy_dim, self.finding_dim, self.dim - self.anatomy_dim - self.finding_dim, shares)


class Features(NamedTuple):
    """What is computed once per image: maps to find and to describe regions, and the film as a whole."""

    detect: Tensor
    """(B, C, S/8, S/8)"""
    embed: Tensor
    """(B, 2C, S/8, S/8): what a region looks like, then the map to find regions, which tells where it lies"""
    pooled: Tensor
    """(B, F)"""


class RegionNetwork(nn.Module):
    """Images in, boxes and unit vectors out."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone()
        self.pyramid = Pyramid(config.width)
        self.detector = Detector(SLOTS, config.width, OUTPUT_WIDTHS[-1])
        self.embedder = Embedder(SLOTS, config.width, config.parts, config.look_margin)

    def features(self, image: Tensor) -> Features:
        """Map images (B, 1, S, S) in [0, 1] to features."""
        maps = self.backbone(image)
        detect, embed = self.pyramid(maps)
        return Features(detect, torch.cat([embed, detect], dim=1), maps[-1].mean(dim=(-2, -1)))

    def judge(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `detect` says of films (B, 1, S, S) as a whole, logits (B,), and their features (B, F).

        Without pyramid and regions: it takes half of a pass.
        """
        pooled = self.backbone(image)[-1].mean(dim=(-2, -1))
        return self.detector.judge(pooled), pooled

    def detect(self, features: Features) -> Detection:
        """Return boxes (B, A, 4) as fractions of S, presence and the judgement of the film."""
        found: Detection = self.detector(features.detect, features.pooled)
        return found

    def embed(self, features: Features, boxes: Tensor, slots: Tensor | None = None) -> Embedding:
        """Return unit vectors (B, R, D) of boxes (B, R, 4) in input pixels, meant to be the anatomies `slots` (R,)."""
        vectors: Embedding = self.embedder(features.embed, boxes, slots)
        return vectors
