"""Random views of films: moved, scaled, bent, turned a little, other contrast. Never mirrored: the sides would swap.

Shape letters: B films, S side of the input, A anatomies (all 29), M side of a mask, G side of a view's mask.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.train.appearance import random_appearance, uniform
from models.train.bend import bent, random_bends, unbent

PRESENT_ABOVE = 0.6
"""A box counts as in view where more than this share of it still is."""
MASK_CELLS = 4
"""A view's mask has one cell per so many input pixels."""


class Views(NamedTuple):
    """Augmented films and what is known about them."""

    images: Tensor
    """(B, 1, S, S) in [0, 1]"""
    boxes: Tensor
    """(B, A, 4) in input pixels, cut at the border"""
    known: Tensor
    """(B, A) bool: a box in view"""
    masks: Tensor
    """(B, 3, G, G) in [0, 1]: right lung, left lung, heart"""
    masked: Tensor
    """(B, 3) bool: a mask is known"""


class Shown(NamedTuple):
    """Films to make views of."""

    images: Tensor
    """(B, S, S) uint8"""
    boxes: Tensor
    """(B, A, 4) in input pixels"""
    known: Tensor
    """(B, A) bool"""
    masks: Tensor
    """(B, M, M) uint8: labels 1, 2, 3"""
    masked: Tensor
    """(B, 3) bool"""


class Placement(NamedTuple):
    """Where the points of views lie on their films, both in coordinates -1..1: an affine map, then bends."""

    linear: Tensor
    """(B, 2, 2)"""
    shift: Tensor
    """(B, 2)"""
    bends: Tensor
    """(B, 2, K)"""

    def grid(self, side: int) -> Tensor:
        """Return where the cells of views of `side` cells lie: (B, side, side, 2)."""
        affine = torch.cat([self.linear, self.shift[..., None]], dim=-1)
        grid = F.affine_grid(affine, [len(affine), 1, side, side], align_corners=False)
        return bent(grid.flatten(1, 2), self.bends).reshape(grid.shape)


def random_views(films: Shown, rng: torch.Generator, strength: float = 1.0, parts: float = 0.0) -> Views:
    """Return one random view of each of `films`; `strength` 1 is training's, less is calmer.

    With a chance of `parts` a view shows a part of the film only, so that some anatomies are out of view.
    """
    count, side = len(films.images), films.images.shape[-1]
    linear, shift = _random_part(*_random_affine(count, rng, strength), parts, rng)
    placement = Placement(*(t.to(films.boxes.device) for t in (linear, shift, random_bends(rng, count, strength))))
    moved, seen = _moved_boxes(films.boxes / side * 2 - 1, placement)
    values = _sampled(films.images[:, None].float() / 255, placement.grid(side))
    labels = torch.stack([films.masks == label for label in (1, 2, 3)], dim=1).float()
    return Views(
        random_appearance(values, rng, strength),
        (moved + 1) / 2 * side,
        films.known & (seen >= PRESENT_ABOVE),
        _sampled(labels, placement.grid(side // MASK_CELLS)),
        films.masked,
    )


def _sampled(values: Tensor, grid: Tensor) -> Tensor:
    """Return `values` (B, C, H, W) at the places `grid` (B, S, S, 2), as (B, C, S, S)."""
    return F.grid_sample(values, grid, mode="bilinear", align_corners=False)


def _random_affine(count: int, rng: torch.Generator, strength: float) -> tuple[Tensor, Tensor]:
    """Return maps from view to film, in coordinates -1..1: linear parts (B, 2, 2) and shifts (B, 2)."""

    def one(low: float, high: float, *shape: int) -> Tensor:
        return uniform(rng, low * strength, high * strength, count, *shape)

    far, squashed = ((torch.rand(count, generator=rng) < 0.3).float() for _ in range(2))
    scale = 1 / (1 + one(-0.18, 0.2) * (1 + far))  # the whole body from a bedside, or a chest that fills the film
    aspect = (one(-0.08, 0.08) + squashed * one(-0.25, 0.25)).exp().sqrt()
    angle = torch.deg2rad(one(-6, 6))
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=-1).reshape(count, 2, 2)
    stretch = torch.stack([scale * aspect, scale / aspect], dim=-1)
    return turn @ torch.diag_embed(stretch), one(-0.16, 0.16, 2)


def _random_part(linear: Tensor, shift: Tensor, chance: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the affine maps `linear`, `shift`, of which some show the upper, lower, left or right part of a film."""
    count = len(shift)
    chosen = (torch.rand(count, generator=rng) < chance).float()[:, None]
    axis = F.one_hot(torch.randint(0, 2, (count,), generator=rng), 2) * chosen
    kept = 1 - axis * uniform(rng, 0.2, 0.55, count, 1)  # (B, 2): share of each axis
    end = torch.randint(0, 2, (count, 1), generator=rng) * 2 - 1
    return torch.diag_embed(kept) @ linear, shift * kept + end * (1 - kept)


def _moved_boxes(boxes: Tensor, placement: Placement) -> tuple[Tensor, Tensor]:
    """Return `boxes` (B, A, 4) of the films in the views, cut at the border, and the share (B, A) in view.

    A turned box is that of the turned ellipse in it: most of what we box is round, and the turn is small.
    """
    back = torch.linalg.inv(placement.linear)
    corners = unbent(boxes.reshape(len(boxes), -1, 2), placement.bends)
    boxes = corners.reshape(boxes.shape)
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2 - placement.shift[:, None]
    centre = centre @ back.transpose(-1, -2)
    half = ((boxes[..., 2:] - boxes[..., :2]) / 2).square() @ back.square().transpose(-1, -2)
    half = half.sqrt()
    whole = torch.cat([centre - half, centre + half], dim=-1)
    cut = whole.clamp(-1, 1)
    area = (2 * half).prod(dim=-1).clamp(min=1e-6)
    return cut, (cut[..., 2:] - cut[..., :2]).prod(dim=-1) / area


def jittered(boxes: Tensor, rng: torch.Generator, amount: float = 0.06) -> Tensor:
    """Return `boxes` (..., 4) with each edge moved by up to `amount` of the box's size."""
    size = boxes[..., 2:] - boxes[..., :2]
    return boxes + uniform(rng, -amount, amount, *boxes.shape).to(boxes.device) * torch.cat([size, size], dim=-1)
