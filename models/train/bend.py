"""Bends along both axes: chests of other proportions, of which boxes stay boxes.

Each coordinate u in -1..1 moves to u + d(u), with d a sum of sines that is 0 at both ends. Lines along an axis stay
lines along it, so a box's edges move exactly. Shape letters: B films, K sines.
"""

import math

import torch
from torch import Tensor

from models.train.appearance import uniform

SINES = 3
STEEPEST = 0.45
"""d never rises or falls faster than this, so that no two points change places."""
_ROUNDS = 40


def random_bends(rng: torch.Generator, count: int, strength: float = 1.0) -> Tensor:
    """Return amplitudes (B, 2, K) of the sines along x and y."""
    number = torch.arange(1, SINES + 1)
    steepest = STEEPEST * strength / SINES
    return uniform(rng, -steepest, steepest, count, 2, SINES) / (number * math.pi / 2)


def bent(points: Tensor, bends: Tensor) -> Tensor:
    """Return points (B, N, 2) moved by `bends` (B, 2, K)."""
    return points + _moves(points, bends)


def unbent(points: Tensor, bends: Tensor) -> Tensor:
    """Return the points (B, N, 2) that `bent` moves to `points`."""
    found = points
    for _ in range(_ROUNDS):  # d is steep by less than 1, so this closes in on the one answer
        found = points - _moves(found, bends)
    return found


def _moves(points: Tensor, bends: Tensor) -> Tensor:
    number = torch.arange(1, bends.shape[-1] + 1, device=points.device)
    waves = ((points[..., None] + 1) * (math.pi / 2) * number).sin()  # (B, N, 2, K)
    return (waves * bends[:, None]).sum(dim=-1)
