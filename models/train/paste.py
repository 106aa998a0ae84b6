"""Views of which one region is kept and everything else is another patient's film, or black.

A region's vector must not change with what lies outside it: the pasted view of a film is trained to be like its whole
one. On black the region lies in the middle, so nothing but its own look tells which anatomy it is.
Shape letters: B views, A anatomies (all 29), S side of the input.
"""

import torch
from torch import Tensor

from models.train.augment import Views

TOLERANCE_PX = 2.0
"""A region counts as kept although it reaches this far out of the kept box."""
ALONE = 0.25
"""Share of the pasted views in which the region lies alone on black."""


def pasted(
    views: Views, films: Tensor, chance: float, rng: torch.Generator, share_alone: float = ALONE
) -> tuple[Views, Tensor, Tensor]:
    """Return views in which some are pasted, which regions (B, A) may be described, and which views (B,) are whole.

    `films` (B,), on the CPU, names the film of each view: what is pasted comes from another one. The first view of each
    film stays whole. Large regions and small ones are kept equally often.
    """
    images, inside = views.images.clone(), views.known.cpu().clone()
    boxes, known = views.boxes.cpu().clone(), views.known.cpu()
    whole = torch.ones(len(films), dtype=torch.bool)
    for i in range(len(films) // 2, len(films)):
        others = (films != films[i]).nonzero().squeeze(-1)
        if float(torch.rand((), generator=rng)) >= chance or not known[i].any() or not len(others):
            continue
        kept = boxes[i, _chosen(boxes[i], known[i], rng)]
        other = others[int(torch.randint(0, len(others), (), generator=rng))]
        inside[i] &= _within(boxes[i], kept)
        if float(torch.rand((), generator=rng)) < share_alone:
            images[i], moved = alone(views.images[i], kept)
            boxes[i] += moved
        else:
            images[i] = keep_inside(views.images[i], views.images[other], kept)
        whole[i] = False
    return (
        views._replace(images=images, boxes=boxes.to(images.device)),
        inside.to(images.device),
        whole.to(images.device),
    )


def keep_inside(image: Tensor, other: Tensor, box: Tensor) -> Tensor:
    """Return `other` (..., S, S) with the part of `image` (..., S, S) inside `box` (4,) pasted over it."""
    x0, y0, x1, y1 = box.round().long().tolist()
    made = other.clone()
    made[..., y0:y1, x0:x1] = image[..., y0:y1, x0:x1]
    return made


def alone(image: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
    """Return the part of `image` (..., S, S) inside `box` (4,) in the middle of black, and how far it moved (4,)."""
    kept = keep_inside(image, torch.zeros_like(image), box)
    shift = (image.shape[-1] / 2 - (box[:2] + box[2:]) / 2).round().long()
    return kept.roll((int(shift[1]), int(shift[0])), dims=(-2, -1)), shift.repeat(2)


def _chosen(boxes: Tensor, known: Tensor, rng: torch.Generator) -> int:
    """Return the row of one of the `known` (A,) `boxes` (A, 4): by their size half of the time, else any."""
    size = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=-1)
    by_size = float(torch.rand((), generator=rng)) < 0.5
    chance = (size if by_size else torch.ones_like(size)) * known
    return int(torch.multinomial(chance, 1, generator=rng))


def _within(boxes: Tensor, kept: Tensor) -> Tensor:
    """Return which of `boxes` (A, 4) lie in `kept` (4,)."""
    low = boxes[:, :2] >= kept[:2] - TOLERANCE_PX
    high = boxes[:, 2:] <= kept[2:] + TOLERANCE_PX
    return (low & high).all(dim=-1)
