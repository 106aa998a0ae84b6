"""One slot per anatomy: where its four edges lie, how sure each is, whether it is there, and whether this is a chest.

Each anatomy occurs at most once, so there are no anchors and no suppression. An edge is the expectation over a
one-dimensional heatmap: a log-sum-exp of a two-dimensional one, over rows for x0 and x1 and over columns for y0 and y1.
Shape letters: B images, A anatomies (all 29), C channels, G cells along one side of the map, F global features.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MIN_EXTENT = 1 / 128
_MIN_SPREAD = 1e-3
_DROPOUT = 0.2
TESTIMONY = 12
"""Numbers that speak of the presence of one anatomy (see `testimony`)."""


class Detection(NamedTuple):
    """What the detector says; boxes are fractions of the input's side, x right, y down."""

    boxes: Tensor
    """(B, A, 4): x0, y0, x1, y1 in [0, 1]; x1 > x0 and y1 > y0."""
    edges: Tensor
    """(B, A, 4): the same before they were made to agree, ordered and cut at the border: what training corrects."""
    heat: Tensor
    """(B, A, 4, G): logits of each edge over the cells of a line."""
    edge_error: Tensor
    """(B, A, 4): expected absolute error of each edge, in the same unit."""
    presence: Tensor
    """(B, A): logits; 0 before calibration."""
    frontal: Tensor
    """(B,): logit of "a frontal chest radiograph, upright and not inverted"."""


class Detector(nn.Module):
    """Edges, their uncertainty, presence and the judgement of the whole film.

    `agreement` corrects each edge by a linear function of all edges: what the regions of one film say of each other.
    `witness` tells from the same, and from how sure each edge is, which anatomies are in view. Both are zero while the
    network learns and fitted afterwards.
    """

    agreement: Tensor
    witness: Tensor

    def __init__(self, anatomies: int, width: int, global_width: int) -> None:
        super().__init__()
        self.anatomies = anatomies
        self.heat = nn.Conv2d(width, anatomies * 4, 1)
        self.shift = nn.Linear(global_width, anatomies * 4)
        self.spread = nn.Linear(global_width, anatomies * 4)
        self.frontal = nn.Sequential(nn.Linear(global_width, 64), nn.ReLU(inplace=True), nn.Linear(64, 1))
        self.drop = nn.Dropout(_DROPOUT)
        self.register_buffer("agreement", torch.zeros(anatomies * 4 + 1, anatomies * 4))
        self.register_buffer("witness", torch.zeros(anatomies * TESTIMONY + 1, anatomies))
        for layer in (self.shift, self.spread):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, feature: Tensor, pooled: Tensor) -> Detection:
        """Map a feature map (B, C, G, G) and global features (B, F) to a `Detection`."""
        heat = self.heat(feature).float().unflatten(1, (self.anatomies, 2, 2))  # (B, A, corner, axis, G, G)
        with torch.autocast(feature.device.type, enabled=False):
            return self._read(heat, self.drop(pooled.float()))

    def _read(self, heat: Tensor, pooled: Tensor) -> Detection:
        """Return what heat maps (B, A, 2, 2, G, G) and global features (B, F) say, in float32."""
        across = [heat[:, :, :, 0].logsumexp(dim=-2), heat[:, :, :, 1].logsumexp(dim=-1)]  # x, then y of both corners
        lines = torch.stack(across, dim=3).flatten(2, 3)  # (B, A, 4, G)
        mean, deviation = _expectation(lines)  # (B, A, 4) each
        edges = mean + self.shift(pooled).unflatten(1, (self.anatomies, 4))
        log_ratio = self.spread(pooled).unflatten(1, (self.anatomies, 4)).clamp(-4, 4)
        error = deviation * log_ratio.exp()
        return Detection(
            boxes=_ordered((edges + self._correction(edges)).clamp(0, 1)),
            edges=edges,
            heat=lines,
            edge_error=error,
            presence=with_one(testimony(edges, error, lines).flatten(1)) @ self.witness,
            frontal=self._judged(pooled),
        )

    def judge(self, pooled: Tensor) -> Tensor:
        """Return `Detection.frontal` alone, (B,), of global features (B, F)."""
        with torch.autocast(pooled.device.type, enabled=False):
            return self._judged(pooled.float())

    def _judged(self, pooled: Tensor) -> Tensor:
        judged: Tensor = self.frontal(pooled).squeeze(-1)
        return judged

    def _correction(self, edges: Tensor) -> Tensor:
        """Return what `agreement` adds to edges (B, A, 4)."""
        return (with_one(edges.flatten(1)) @ self.agreement).reshape(edges.shape)


def testimony(edges: Tensor, edge_error: Tensor, heat: Tensor) -> Tensor:
    """Return what the edges (B, A, 4) of each anatomy say of its presence, (B, A, `TESTIMONY`).

    Where they lie, how far they may be off, and how much their heat (B, A, 4, G) stands out.
    """
    return torch.cat([edges, edge_error.clamp(min=_MIN_SPREAD).log(), heat.amax(dim=-1)], dim=-1)


def with_one(said: Tensor) -> Tensor:
    """Return `said` (B, N) with a column of ones behind it, (B, N + 1)."""
    return F.pad(said, (0, 1), value=1.0)


def _expectation(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation, as fractions of the line, of the distributions `logits` (..., G)."""
    cells = logits.shape[-1]
    at = (torch.arange(cells, device=logits.device) + 0.5) / cells
    weight = logits.softmax(dim=-1)
    mean = (weight * at).sum(dim=-1)
    variance = (weight * (at - mean[..., None]).square()).sum(dim=-1)
    return mean, variance.clamp(min=_MIN_SPREAD**2).sqrt()


def _ordered(edges: Tensor) -> Tensor:
    """Return `edges` (..., 4) with x1 and y1 moved where they do not lie beyond x0 and y0."""
    low = edges[..., :2].clamp(max=1 - MIN_EXTENT)
    return torch.cat([low, torch.maximum(edges[..., 2:], low + MIN_EXTENT)], dim=-1)
