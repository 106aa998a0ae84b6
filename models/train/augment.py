"""Random views of films: moved, scaled, turned a little, other contrast. Never mirrored: that would swap the sides.

Shape letters: B films, S side of the input, A anatomies (all 29).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

ABSENT_BELOW, PRESENT_ABOVE = 0.25, 0.6
"""Shares of a box that are still in view: below the first it counts as absent, above the second as present."""


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


def random_views(images: Tensor, boxes: Tensor, known: Tensor, rng: torch.Generator) -> Views:
    """Return one random view of each of `images` (B, S, S) uint8 with `boxes` (B, A, 4) in input pixels."""
    side = images.shape[-1]
    linear, shift = _random_affine(len(images), rng)
    moved, seen = _moved_boxes(boxes / side * 2 - 1, linear, shift)
    inside = F.affine_grid(torch.cat([linear, shift[..., None]], dim=-1), [len(images), 1, side, side], False)
    values = F.grid_sample(images[:, None].float() / 255, inside, mode="bilinear", align_corners=False)
    values = random_borders(random_contrast(values, rng), rng)
    return Views(
        random_markers(values, rng),
        (moved + 1) / 2 * side,
        known & (seen >= PRESENT_ABOVE),
        known & (seen < ABSENT_BELOW),
    )


def uniform(rng: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    """Return random numbers in [low, high)."""
    return torch.rand(*shape, generator=rng) * (high - low) + low


def _random_affine(count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return maps from view to film, in coordinates -1..1: linear parts (B, 2, 2) and shifts (B, 2)."""
    scale = 1 / uniform(rng, 0.8, 1.2, count)
    aspect = uniform(rng, -0.08, 0.08, count)
    squashed = (torch.rand(count, generator=rng) < 0.25).float()
    aspect = (aspect + squashed * uniform(rng, -0.3, 0.15, count)).exp().sqrt()
    angle = torch.deg2rad(uniform(rng, -5, 5, count))
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=-1).reshape(count, 2, 2)
    stretch = torch.stack([scale * aspect, scale / aspect], dim=-1)
    return turn @ torch.diag_embed(stretch), uniform(rng, -0.16, 0.16, count, 2)


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


def random_contrast(values: Tensor, rng: torch.Generator) -> Tensor:
    """Return images (B, 1, S, S) with random gamma, window, blur and noise, in [0, 1]."""
    count = len(values)

    def one(low: float, high: float) -> Tensor:
        return uniform(rng, low, high, count, 1, 1, 1)

    gamma = one(-0.5, 0.5).exp()
    low, high = one(-0.1, 0.08), one(0.92, 1.15)
    values = ((values.clamp(min=1e-4) ** gamma - low) / (high - low)).clamp(0, 1)
    blurred = F.interpolate(F.avg_pool2d(values, 2), scale_factor=2, mode="bilinear")
    mix = one(-1, 0.9).clamp(min=0)
    noise = torch.randn(values.shape, generator=rng) * one(-0.04, 0.04).clamp(min=0)
    return (values * (1 - mix) + blurred * mix + noise).clamp(0, 1)


def random_borders(values: Tensor, rng: torch.Generator) -> Tensor:
    """Return images, some with collimated borders of random width and one grey (black or white more often)."""
    side = values.shape[-1]
    for i in range(len(values)):
        if float(torch.rand((), generator=rng)) < 0.25:
            margin = (uniform(rng, 0, 0.07, 4) * side).long().tolist()
            grey = float(torch.rand((), generator=rng).mul(3).sub(1).clamp(0, 1))
            edge = torch.ones(side, side, dtype=torch.bool)
            edge[margin[0] : side - margin[1], margin[2] : side - margin[3]] = False
            values[i, 0, edge] = grey
    return values


def random_markers(values: Tensor, rng: torch.Generator) -> Tensor:
    """Return images with a few small rectangles pasted: burnt-in letters and tubes must not decide anything."""
    side = values.shape[-1]
    for i in range(len(values)):
        for _ in range(int(torch.randint(0, 4, (), generator=rng))):
            h, w = (uniform(rng, 0.02, 0.12, 2) * side).long().clamp(min=2).tolist()
            y, x = (torch.rand(2, generator=rng) * (side - max(h, w))).long().tolist()
            values[i, 0, y : y + h, x : x + w] = float(torch.rand((), generator=rng))
    return values


def jittered(boxes: Tensor, rng: torch.Generator, amount: float = 0.06) -> Tensor:
    """Return `boxes` (..., 4) with each edge moved by up to `amount` of the box's size."""
    size = boxes[..., 2:] - boxes[..., :2]
    return boxes + uniform(rng, -amount, amount, *boxes.shape) * torch.cat([size, size], dim=-1)
