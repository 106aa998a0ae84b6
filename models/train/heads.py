"""What learns beside the network and is thrown away: a classifier of findings, and masks of lungs and heart.

Shape letters: B views, C channels, G cells along one side of the detector's map.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from models.embedder import LOGIT_SCALE
from models.network import NetworkConfig

MASKS = 3
_FINER = 2
"""Masks have twice as many cells along a side as the detector's map."""


class TrainHeads(nn.Module):
    """Names the finding from the finding part; draws masks from the detector's map, which so learns outlines."""

    def __init__(self, config: NetworkConfig, findings: int) -> None:
        super().__init__()
        self.finding = nn.Linear(config.finding_dim, max(1, findings))
        self.mask = nn.Conv2d(config.width, MASKS * _FINER**2, 1)

    def name_finding(self, part: Tensor) -> Tensor:
        """Map finding parts (..., D_finding) to logits (..., findings)."""
        logits: Tensor = self.finding(part * LOGIT_SCALE)
        return logits

    def draw_masks(self, feature: Tensor) -> Tensor:
        """Map a feature map (B, C, G, G) to logits (B, 3, 2G, 2G)."""
        return F.pixel_shuffle(self.mask(feature).float(), _FINER)
