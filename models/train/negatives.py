"""Images that are no upright frontal chest radiograph, made from random numbers and from training films.

No image of another body part is used: what is refused in the end is learnt from these and from the spread of the
training films themselves. S is the side of the input.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from models.train.appearance import random_borders, random_contrast, uniform

Maker = Callable[[Tensor, torch.Generator], Tensor]
"""Maps one film (S, S) in [0, 1] to another image (S, S)."""


def negatives(films: Tensor, rng: torch.Generator) -> Tensor:
    """Return one image (B, 1, S, S) in [0, 1] to be refused for each of `films` (B, S, S) uint8."""
    made = []
    for film in films:
        maker = MAKERS[int(torch.randint(0, len(MAKERS), (), generator=rng))]
        made.append(_stretched(maker(film.float() / 255, rng)))
    return random_borders(random_contrast(torch.stack(made)[:, None], rng), rng)


def turned(film: Tensor, rng: torch.Generator) -> Tensor:
    """Return `film` turned by 90, 180 or 270 degrees."""
    return torch.rot90(film, int(torch.randint(1, 4, (), generator=rng)))


def upside_down(film: Tensor, _rng: torch.Generator) -> Tensor:
    """Return `film` with its rows reversed."""
    return film.flip(0)


def inverted(film: Tensor, rng: torch.Generator) -> Tensor:
    """Return `film` with black and white exchanged, its black margins perhaps left black."""
    keep = float(torch.rand((), generator=rng)) < 0.5
    return (1 - film) * (film > 0) if keep else 1 - film


def part(film: Tensor, rng: torch.Generator) -> Tensor:
    """Return a small part of `film` blown up: 12 to 38 % of its side."""
    side = film.shape[-1]
    h, w = (uniform(rng, 0.12, 0.38, 2) * side).long().clamp(min=8).tolist()
    y = int(torch.rand((), generator=rng) * (side - h))
    x = int(torch.rand((), generator=rng) * (side - w))
    return _resized(film[y : y + h, x : x + w], side)


def bottom_or_top(film: Tensor, rng: torch.Generator) -> Tensor:
    """Return the lowest or highest fifth to third of `film` blown up: belly, or neck and shoulders."""
    side = film.shape[-1]
    rows = int(uniform(rng, 0.18, 0.33, 1) * side)
    strip = film[-rows:] if float(torch.rand((), generator=rng)) < 0.7 else film[:rows]
    columns = int(uniform(rng, 0.5, 1.0, 1) * side)
    return _resized(strip[:, (side - columns) // 2 : (side + columns) // 2], side)


def scrambled(film: Tensor, rng: torch.Generator) -> Tensor:
    """Return `film` cut into 4 to 36 tiles in random order."""
    side, n = film.shape[-1], int(torch.randint(2, 7, (), generator=rng))
    tile = side // n
    tiles = film[: tile * n, : tile * n].reshape(n, tile, n, tile).transpose(1, 2).reshape(n * n, tile, tile)
    order = torch.randperm(n * n, generator=rng)
    return _resized(tiles[order].reshape(n, n, tile, tile).transpose(1, 2).reshape(tile * n, tile * n), side)


def same_spectrum(film: Tensor, rng: torch.Generator) -> Tensor:
    """Return noise with the amplitude spectrum of `film`."""
    phases = torch.fft.rfft2(torch.randn(film.shape, generator=rng))
    spectrum: Tensor = torch.fft.rfft2(film).abs() * phases / phases.abs().clamp(min=1e-6)
    image: Tensor = torch.fft.irfft2(spectrum, s=film.shape)
    return image


def noise(film: Tensor, rng: torch.Generator) -> Tensor:
    """Return noise of several sizes of grain."""
    side = film.shape[-1]
    total = torch.zeros(side, side)
    for octave in range(8):
        cells = 2**octave
        total += _resized(torch.randn(cells, cells, generator=rng), side) * float(torch.rand((), generator=rng))
    return total


def gradient(film: Tensor, rng: torch.Generator) -> Tensor:
    """Return a slope or a vignette, or one grey, with a little noise."""
    y, x = _grid(film.shape[-1])
    angle = float(torch.rand((), generator=rng)) * 2 * math.pi
    slope = x * math.cos(angle) + y * math.sin(angle)
    kind = int(torch.randint(0, 3, (), generator=rng))
    base = (slope, x.square() + y.square(), torch.zeros_like(x))[kind]
    return base + torch.randn(base.shape, generator=rng) * 0.02


def blobs(film: Tensor, rng: torch.Generator) -> Tensor:
    """Return soft ellipses and rods on a dark or sloping ground, as limbs, hips and tools look."""
    total = gradient(film, rng) * 0.3
    for _ in range(int(torch.randint(2, 12, (), generator=rng))):
        total = total + _ellipse(film.shape[-1], rng) * float(uniform(rng, -0.6, 1.0, 1))
    return total + _resized(torch.randn(32, 32, generator=rng), film.shape[-1]) * 0.08


def slice_phantom(film: Tensor, rng: torch.Generator) -> Tensor:
    """Return a body or head in cross-section: a bright ellipse on black with organs, holes and perhaps a rim."""
    side = film.shape[-1]
    y, x = _grid(side)
    a, b = uniform(rng, 0.5, 0.95, 2).tolist()
    cy, cx = uniform(rng, -0.1, 0.1, 2).tolist()
    radius = ((x - cx) / a).square() + ((y - cy) / b).square()
    body = torch.sigmoid((1 - radius) * 40) * 0.6
    rim = torch.exp(-(radius - float(uniform(rng, 0.7, 0.95, 1))).square() * 300) * float(torch.rand((), generator=rng))
    organs = torch.zeros(side, side)
    for _ in range(int(torch.randint(2, 10, (), generator=rng))):
        organs += _ellipse(side, rng) * float(uniform(rng, -0.6, 0.5, 1))
    grain = _resized(torch.randn(48, 48, generator=rng), side) * 0.05
    image: Tensor = body + rim + (organs + grain) * (radius < 1)
    return image.clamp(min=0)


MAKERS: tuple[Maker, ...] = (
    turned,
    turned,
    upside_down,
    inverted,
    inverted,
    part,
    part,
    bottom_or_top,
    scrambled,
    same_spectrum,
    noise,
    gradient,
    blobs,
    blobs,
    slice_phantom,
    slice_phantom,
)


def _grid(side: int) -> tuple[Tensor, Tensor]:
    at = torch.linspace(-1, 1, side)
    y, x = torch.meshgrid(at, at, indexing="ij")
    return y, x


def _ellipse(side: int, rng: torch.Generator) -> Tensor:
    """Return a soft-edged ellipse (S, S) in [0, 1], from a disc to a rod."""
    y, x = _grid(side)
    cy, cx = uniform(rng, -0.8, 0.8, 2).tolist()
    long, thin = float(uniform(rng, 0.1, 0.9, 1)), float(uniform(rng, 0.12, 1.0, 1))
    angle = float(torch.rand((), generator=rng)) * math.pi
    u = (x - cx) * math.cos(angle) + (y - cy) * math.sin(angle)
    v = (y - cy) * math.cos(angle) - (x - cx) * math.sin(angle)
    radius = (u / long).square() + (v / (long * thin)).square()
    return torch.sigmoid((1 - radius) * float(uniform(rng, 3, 40, 1)))


def _resized(image: Tensor, side: int) -> Tensor:
    larger: Tensor = F.interpolate(image[None, None], size=(side, side), mode="bilinear", align_corners=False)
    return larger[0, 0]


def _stretched(image: Tensor) -> Tensor:
    low, high = torch.quantile(image.flatten()[::7], torch.tensor([0.01, 0.99]))
    stretched: Tensor = ((image - low) / (high - low).clamp(min=1e-3)).clamp(0, 1)
    return stretched
