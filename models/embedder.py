"""A region as one unit vector: one part says which anatomy it is, the other how it looks.

Both parts have unit length before they are joined as (sqrt(share) * anatomy, sqrt(1 - share) * appearance), so the
similarity of two regions of one anatomy moves with appearance alone and no anatomy can collapse to a point.
Shape letters: B images, R boxes per image, C channels, P pooled side, D length of the vector.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.pyramid import STRIDE, conv_norm
from models.roi_align import roi_align

POOLED_SIDE = 7
WIDENED = 0.10
LOGIT_SCALE = 8.0


class Embedding(NamedTuple):
    """Unit vectors of regions, whole and in parts."""

    vector: Tensor
    """(B, R, D)"""
    anatomy: Tensor
    """(B, R, D_anatomy)"""
    appearance: Tensor
    """(B, R, D - D_anatomy)"""
    uncentred: Tensor
    """(B, R, D - D_anatomy): appearance before its anatomy's centre is taken off and the length made 1"""


class Embedder(nn.Module):
    """RoIAlign, one convolution, pooling, and two small perceptrons.

    What all regions of one anatomy share is taken off their appearance (`centres`): else it drowns what differs.
    """

    centres: Tensor

    def __init__(self, anatomies: int, width: int, anatomy_dim: int, dim: int, anatomy_share: float) -> None:
        super().__init__()
        self.share = anatomy_share
        self.conv = conv_norm(width, width)
        self.to_anatomy = _perceptron(2 * width, 128, anatomy_dim)
        self.to_appearance = _perceptron(2 * width, 256, dim - anatomy_dim)
        self.anatomy_logits = nn.Linear(anatomy_dim, anatomies)
        self.register_buffer("centres", torch.zeros(anatomies, dim - anatomy_dim))

    def forward(self, feature: Tensor, boxes: Tensor, slots: Tensor | None = None) -> Embedding:
        """Map a feature map (B, C, S/8, S/8) and boxes (B, R, 4) in input pixels to unit vectors.

        `slots` (R,) says which anatomy each box is meant to be; None lets the embedder name it.
        """
        pooled = roi_align(feature, widened(boxes), size=POOLED_SIDE, stride=STRIDE)  # (B, R, C, P, P)
        b, r = pooled.shape[:2]
        x = self.conv(pooled.flatten(0, 1))
        x = torch.cat([x.mean(dim=(-2, -1)), x.amax(dim=(-2, -1))], dim=-1).reshape(b, r, -1)  # (B, R, 2C)
        anatomy = F.normalize(self.to_anatomy(x).float(), dim=-1)
        uncentred = self.to_appearance(x).float()
        named = self.classify(anatomy).argmax(dim=-1) if slots is None else slots.expand(b, r)
        appearance = F.normalize(uncentred - self.centres[named], dim=-1)
        parts = [self.share**0.5 * anatomy, (1 - self.share) ** 0.5 * appearance]
        return Embedding(torch.cat(parts, dim=-1), anatomy, appearance, uncentred)

    def classify(self, anatomy: Tensor) -> Tensor:
        """Map anatomy parts (..., D_anatomy) to logits of all anatomies (..., A)."""
        logits: Tensor = self.anatomy_logits(anatomy * LOGIT_SCALE)
        return logits


def _perceptron(width_in: int, width: int, width_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width_in, width), nn.LayerNorm(width), nn.ReLU(inplace=True), nn.Linear(width, width_out)
    )


def widened(boxes: Tensor) -> Tensor:
    """Return `boxes` (..., 4) grown by 10 % of their size, half on each side."""
    size = boxes[..., 2:] - boxes[..., :2]
    return torch.cat([boxes[..., :2] - size * WIDENED / 2, boxes[..., 2:] + size * WIDENED / 2], dim=-1)
