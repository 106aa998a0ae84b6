"""A region as one unit vector of three parts: which anatomy it is, what is found there, and how it looks.

Each part has unit length before they are joined, each times the root of its share. So the similarity of two regions of
one anatomy moves with finding and look alone, no anatomy can collapse to a point, and what tells findings apart does
not drown everything else that makes two regions alike.
Shape letters: B images, R boxes per image, C channels, P pooled side, D length of the vector.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.pyramid import STRIDE, conv_norm
from models.roi_align import roi_align

POOLED_SIDE = 7
LOGIT_SCALE = 8.0


class Parts(NamedTuple):
    """Lengths of the parts of a vector, and their shares of its squared length."""

    anatomy: int
    finding: int
    look: int
    shares: tuple[float, float, float]


class Embedding(NamedTuple):
    """Unit vectors of regions, whole and in parts."""

    vector: Tensor
    """(B, R, D)"""
    anatomy: Tensor
    """(B, R, D_anatomy)"""
    finding: Tensor
    """(B, R, D_finding)"""
    look: Tensor
    """(B, R, D_look)"""
    uncentred: Tensor
    """(B, R, D_finding + D_look): the last two before their anatomy's centre is taken off and their length made 1"""


class Embedder(nn.Module):
    """RoIAlign, two convolutions, pooling, and three small perceptrons.

    Appearance is read from what a region itself looks like, so it hardly depends on what lies outside the box; which
    anatomy it is from that and from the map that finds regions, which knows the whole film.
    What all regions of one anatomy share is taken off their appearance (`centres`): else it drowns what differs.
    `look_map` then weighs the directions of the look by how well they tell films apart. Both are fitted after training.
    """

    centres: Tensor
    look_map: Tensor

    def __init__(self, anatomies: int, width: int, parts: Parts, look_margin: int = 0) -> None:
        """`look_margin`: how many of the cells along each edge of a box its appearance leaves out."""
        super().__init__()
        self.parts, self.look_margin = parts, look_margin
        self.conv = nn.Sequential(conv_norm(width, width), conv_norm(width, width))
        self.to_anatomy = _perceptron(4 * width, 128, parts.anatomy)
        self.to_finding = _perceptron(2 * width, 256, parts.finding)
        self.to_look = _perceptron(2 * width, 256, parts.look)
        self.anatomy_logits = nn.Linear(parts.anatomy, anatomies)
        self.register_buffer("centres", torch.zeros(anatomies, parts.finding + parts.look))
        self.register_buffer("look_map", torch.eye(parts.look))

    def forward(self, feature: Tensor, boxes: Tensor, slots: Tensor | None = None) -> Embedding:
        """Map feature maps (B, 2C, S/8, S/8) and boxes (B, R, 4) in input pixels to unit vectors.

        `slots` (R,) says which anatomy each box is meant to be; None lets the embedder name it.
        """
        anatomy, uncentred = self.describe(feature, boxes)
        named = self.classify(anatomy).argmax(dim=-1) if slots is None else slots.expand(anatomy.shape[:2])
        return self.join(anatomy, uncentred, named)

    def describe(self, feature: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the anatomy part (B, R, D_anatomy) and the uncentred appearance (B, R, D_finding + D_look)."""
        return self.summarise(self.cells(feature, boxes))

    def cells(self, feature: Tensor, boxes: Tensor) -> Tensor:
        """Return what is seen in each of the P x P cells of every box: (B, R, 2C, P, P), look first, then place.

        The second convolution is computed in float32: rounded to bfloat16, what it tells of a region moves a vector by
        more than the whole backbone does.
        """
        pooled = roi_align(feature, boxes, size=POOLED_SIDE, stride=STRIDE)  # (B, R, 2C, P, P)
        look, place = pooled.flatten(0, 1).chunk(2, dim=1)
        first, second = self.conv
        look = first(look)
        with torch.autocast(look.device.type, enabled=False):
            return torch.cat([second(look.float()), place.float()], dim=1).reshape(pooled.shape)

    def summarise(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `describe` does, of cells (B, R, 2C, P, P).

        In float32: regions differ by a small part of what they share, and bfloat16 would round that part away.
        """
        look, place = self.pooled(cells)
        return self.anatomy(look, place), self.appearance(look)

    def pooled(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and maximum over cells (B, R, 2C, P, P), of look and of place: (B, R, 2C) float32 each.

        Of the look without the cells along the edges: the map sees there what lies outside the box.
        """
        look, place = cells.float().chunk(2, dim=2)
        inner = slice(self.look_margin, cells.shape[-1] - self.look_margin)
        return _mean_and_maximum(look[..., inner, inner]), _mean_and_maximum(place)

    def anatomy(self, look: Tensor, place: Tensor) -> Tensor:
        """Return the anatomy part (..., D_anatomy) of pooled cells, (..., 2C) each."""
        with torch.autocast(look.device.type, enabled=False):
            return F.normalize(self.to_anatomy(torch.cat([look, place], dim=-1)), dim=-1)

    def appearance(self, look: Tensor) -> Tensor:
        """Return the uncentred appearance (..., D_finding + D_look) of pooled cells (..., 2C)."""
        with torch.autocast(look.device.type, enabled=False):
            return torch.cat([self.to_finding(look), self.to_look(look)], dim=-1)

    def join(self, anatomy: Tensor, uncentred: Tensor, named: Tensor) -> Embedding:
        """Return the vectors of described regions that are taken to be the anatomies `named` (B, R)."""
        finding, look = torch.split(uncentred - self.centres[named], [self.parts.finding, self.parts.look], dim=-1)
        with torch.autocast(look.device.type, enabled=False):
            look = look @ self.look_map
        finding, look = F.normalize(finding, dim=-1), F.normalize(look, dim=-1)
        parts = zip(self.parts.shares, (anatomy, finding, look), strict=True)
        vector = torch.cat([share**0.5 * part for share, part in parts], dim=-1)
        return Embedding(vector, anatomy, finding, look, uncentred)

    def classify(self, anatomy: Tensor) -> Tensor:
        """Map anatomy parts (..., D_anatomy) to logits of all anatomies (..., A)."""
        logits: Tensor = self.anatomy_logits(anatomy * LOGIT_SCALE)
        return logits


def _mean_and_maximum(cells: Tensor) -> Tensor:
    """Map cells (B, R, C, P, P) to (B, R, 2C)."""
    return torch.cat([cells.mean(dim=(-2, -1)), cells.amax(dim=(-2, -1))], dim=-1)


def _perceptron(width_in: int, width: int, width_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width_in, width), nn.LayerNorm(width), nn.ReLU(inplace=True), nn.Linear(width, width_out)
    )
