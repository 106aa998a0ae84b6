"""Random changes of how films look: exposure, windows, shading, vendors' sharpening, noise, borders, markers, lines.

None moves anything, so boxes stay right. Random numbers are drawn on the CPU, whatever the films' device: runs are then
the same. Shape letters: B films, S side of the input.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def uniform(rng: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    """Return random numbers in [low, high)."""
    return torch.rand(*shape, generator=rng) * (high - low) + low


def sometimes(rng: torch.Generator, chance: float, count: int) -> Tensor:
    """Return 1 with `chance`, else 0, for each of `count` films (B, 1, 1, 1)."""
    return (torch.rand(count, 1, 1, 1, generator=rng) < chance).float()


def random_appearance(values: Tensor, rng: torch.Generator, strength: float = 1.0) -> Tensor:
    """Return films (B, 1, S, S) in [0, 1] as another machine might have shown them; `strength` scales the changes."""
    values = random_shading(random_sharpness(values, rng, strength), rng, strength)
    values = random_borders(random_contrast(values, rng, strength), rng)
    return random_lines(random_markers(values, rng), rng)


def random_contrast(values: Tensor, rng: torch.Generator, strength: float = 1.0) -> Tensor:
    """Return images (B, 1, S, S) with random gamma, window, blur and noise, in [0, 1]."""
    count = len(values)

    def one(low: float, high: float) -> Tensor:
        return uniform(rng, low * strength, high * strength, count, 1, 1, 1).to(values.device)

    gamma = one(-0.5, 0.5).exp()
    low, high = one(-0.1, 0.08), 1 + one(-0.08, 0.15)
    values = ((values.clamp(min=1e-4) ** gamma - low) / (high - low)).clamp(0, 1)
    blurred = F.interpolate(F.avg_pool2d(values, 2), scale_factor=2, mode="bilinear")
    mix = one(-1, 0.9).clamp(min=0)
    noise = torch.randn(values.shape, generator=rng).to(values.device) * one(-0.04, 0.04).clamp(min=0)
    return (values * (1 - mix) + blurred * mix + noise).clamp(0, 1)


def random_shading(values: Tensor, rng: torch.Generator, strength: float = 1.0) -> Tensor:
    """Return images, a third of them under a smooth veil: uneven exposure, folds, soft tissue."""
    count, side = len(values), values.shape[-1]
    veil = torch.randn(count, 1, 4, 4, generator=rng) * uniform(rng, 0, 0.12 * strength, count, 1, 1, 1)
    veil = F.interpolate(veil, size=(side, side), mode="bicubic")
    return (values + (veil * sometimes(rng, 0.35, count)).to(values.device)).clamp(0, 1)


def random_sharpness(values: Tensor, rng: torch.Generator, strength: float = 1.0) -> Tensor:
    """Return images, a third of them with their coarse contrast pressed or raised as vendors' processing does."""
    count, side = len(values), values.shape[-1]
    coarse = F.interpolate(F.adaptive_avg_pool2d(values, 8), size=(side, side), mode="bilinear")
    amount = uniform(rng, -0.3 * strength, 0.6 * strength, count, 1, 1, 1) * sometimes(rng, 0.35, count)
    return (values - amount.to(values.device) * (coarse - 0.5)).clamp(0, 1)


def random_borders(values: Tensor, rng: torch.Generator) -> Tensor:
    """Return images, some with collimated borders of random width and one grey (black or white more often)."""
    side = values.shape[-1]
    for i in range(len(values)):
        if float(torch.rand((), generator=rng)) < 0.25:
            margin = (uniform(rng, 0, 0.07, 4) * side).long().tolist()
            grey = float(torch.rand((), generator=rng).mul(3).sub(1).clamp(0, 1))
            edge = torch.ones(side, side, dtype=torch.bool, device=values.device)
            edge[margin[0] : side - margin[1], margin[2] : side - margin[3]] = False
            values[i, 0, edge] = grey
    return values


def random_markers(values: Tensor, rng: torch.Generator) -> Tensor:
    """Return images with a few small rectangles pasted: burnt-in letters and patches must not decide anything."""
    side = values.shape[-1]
    for i in range(len(values)):
        for _ in range(int(torch.randint(0, 4, (), generator=rng))):
            h, w = (uniform(rng, 0.02, 0.12, 2) * side).long().clamp(min=2).tolist()
            y, x = (torch.rand(2, generator=rng) * (side - max(h, w))).long().tolist()
            values[i, 0, y : y + h, x : x + w] = float(torch.rand((), generator=rng))
    return values


def random_lines(values: Tensor, rng: torch.Generator) -> Tensor:
    """Return images, a quarter of them with one to three thin bright or dark arcs, as tubes and cables look."""
    side = values.shape[-1]
    at = torch.arange(side, dtype=torch.float32, device=values.device)
    for i in range(len(values)):
        if float(torch.rand((), generator=rng)) >= 0.25:
            continue
        for _ in range(int(torch.randint(1, 4, (), generator=rng))):
            start, slope, bend, width, grey = torch.rand(5, generator=rng).tolist()
            course = (start + (slope - 0.5) * at / side + (bend - 0.5) * (at / side) ** 2) * side
            near = (1 - (at[None] - course[:, None]).abs() / (0.7 + width)).clamp(0, 1)  # (along, across)
            if float(torch.rand((), generator=rng)) < 0.3:
                near = near.T
            shift = 0.35 * (grey + 0.3) if grey < 0.75 else -0.25
            values[i, 0] = (values[i, 0] + near * shift).clamp(0, 1)
    return values
