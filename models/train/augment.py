"""Random views of films: moved, scaled, turned a little, other contrast. Never mirrored: that would swap the sides.

Shape letters: B films, S side of the input, A anatomies (all 29), M side of a mask, G side of a view's mask.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.train.appearance import random_appearance, uniform

ABSENT_BELOW, PRESENT_ABOVE = 0.25, 0.6
"""Shares of a box that are still in view: below the first it counts as absent, above the second as present."""
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
    absent: Tensor
    """(B, A) bool: had a box that is out of view now"""
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


def random_views(films: Shown, rng: torch.Generator, strength: float = 1.0) -> Views:
    """Return one random view of each of `films`; `strength` 1 is training's, less is calmer."""
    count, side = len(films.images), films.images.shape[-1]
    linear, shift = (t.to(films.boxes.device) for t in _random_affine(count, rng, strength))
    moved, seen = _moved_boxes(films.boxes / side * 2 - 1, linear, shift)
    affine = torch.cat([linear, shift[..., None]], dim=-1)
    values = _sampled(films.images[:, None].float() / 255, affine, side)
    labels = torch.stack([films.masks == label for label in (1, 2, 3)], dim=1).float()
    return Views(
        random_appearance(values, rng, strength),
        (moved + 1) / 2 * side,
        films.known & (seen >= PRESENT_ABOVE),
        films.known & (seen < ABSENT_BELOW),
        _sampled(labels, affine, side // MASK_CELLS),
        films.masked,
    )


def _sampled(values: Tensor, affine: Tensor, side: int) -> Tensor:
    """Return `values` (B, C, H, W) under the maps `affine` (B, 2, 3) from view to film, as (B, C, side, side)."""
    grid = F.affine_grid(affine, [len(values), values.shape[1], side, side], align_corners=False)
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


def _moved_boxes(boxes: Tensor, linear: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Return `boxes` (B, A, 4) of the films in the views, cut at the border, and the share (B, A) in view.

    A turned box is that of the turned ellipse in it: most of what we box is round, and the turn is small.
    """
    back = torch.linalg.inv(linear)
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2 - shift[:, None]
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
