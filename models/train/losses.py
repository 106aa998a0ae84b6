"""Losses. Whatever is unknown (a box, a finding) takes no part in them.

Shape letters: B views, A anatomies, D length of a vector, M remembered regions per anatomy.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from models.detector import Detection

WEIGHTS: dict[str, float] = {
    "box": 2.0,
    "mask": 0.4,
    "edge_heat": 0.3,
    "edge_error": 0.05,
    "frontal": 0.5,
    "anatomy_contrast": 0.2,
    "anatomy_class": 0.3,
    "finding_contrast": 0.3,
    "finding_class": 0.6,
    "same_region": 0.5,
    "spread": 0.3,
    "alignment": 0.5,
    "magnitude": 0.03,
}

RELATED = 0.1
"""How alike two kinds of one disease are, as a share of the same finding."""


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Return the generalised intersection over union, -1..1, of boxes (..., 4)."""
    area_a, area_b = ((t[..., 2:] - t[..., :2]).clamp(min=0).prod(dim=-1) for t in (a, b))
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    shared = (high - low).clamp(min=0).prod(dim=-1)
    union = (area_a + area_b - shared).clamp(min=1e-7)
    low, high = torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:])
    hull = (high - low).clamp(min=0).prod(dim=-1).clamp(min=1e-7)
    return shared / union - (hull - union) / hull


def box_losses(found: Detection, boxes: Tensor, known: Tensor) -> dict[str, Tensor]:
    """Return losses of boxes (B, A, 4), as fractions of the side, where `known` (B, A).

    Each anatomy counts alike, however few films know it.
    """
    share = known.float() / known.float().sum(dim=0, keepdim=True).clamp(min=1)
    share = share / share.sum().clamp(min=1e-6)
    error = (found.edges - boxes).abs()  # not the ordered boxes: an edge beyond its opposite would get no gradient
    located = 5 * error.sum(dim=-1) + 2 * (1 - giou(found.edges, boxes))
    heat = edge_heat(found.heat, boxes).sum(dim=-1)
    doubt = (error.detach() / found.edge_error + found.edge_error.log()).sum(dim=-1)
    return {"box": (located * share).sum(), "edge_heat": (heat * share).sum(), "edge_error": (doubt * share).sum()}


def edge_heat(heat: Tensor, edges: Tensor) -> Tensor:
    """Return the cross-entropy (...) of lines of logits (..., G) with `edges` (...), as fractions of the line.

    An edge between the centres of two cells belongs to both, in shares that put its expectation where it is.
    """
    cells = heat.shape[-1]
    at = (edges * cells - 0.5).clamp(0, cells - 1)
    grid = torch.arange(cells, device=heat.device)
    target = (1 - (at[..., None] - grid).abs()).clamp(min=0)
    return -(target * heat.log_softmax(dim=-1)).sum(dim=-1)


def mask_loss(logits: Tensor, masks: Tensor, masked: Tensor) -> Tensor:
    """Return cross-entropy and Dice loss of masks (B, 3, G, G) where `masked` (B, 3)."""
    each = F.binary_cross_entropy_with_logits(logits, masks, reduction="none").mean(dim=(-2, -1))
    likely = logits.sigmoid()
    shared, total = ((f * masks).sum(dim=(-2, -1)) for f in (likely, torch.ones_like(likely)))
    dice = 1 - (2 * shared + 1) / (likely.sum(dim=(-2, -1)) + total + 1)
    return ((each + dice) * masked).sum() / masked.sum().clamp(min=1)


def anatomy_contrast(vectors: Tensor, known: Tensor, temperature: float) -> Tensor:
    """Supervised contrast over all regions (B, A, D) of a batch: those of one anatomy belong together."""
    anatomy = torch.arange(known.shape[1], device=known.device).expand_as(known)[known]
    chosen = vectors[known]
    same = anatomy[:, None] == anatomy[None]
    itself = torch.eye(len(chosen), dtype=torch.bool, device=chosen.device)
    return weighted_contrast(chosen @ chosen.T / temperature, (same & ~itself).float(), ~itself)


def weighted_contrast(logits: Tensor, positive: Tensor, allowed: Tensor) -> Tensor:
    """Return the contrastive loss of rows of `logits`: weights of their positives, and what may be compared at all.

    Rows without a positive take no part.
    """
    log_share = logits.masked_fill(~allowed, -torch.inf).log_softmax(dim=-1)
    weight = positive * allowed
    total = weight.sum(dim=-1)
    per_row = -(weight * log_share.masked_fill(weight == 0, 0)).sum(dim=-1) / total.clamp(min=1e-6)
    return per_row[total > 0].sum() / (total > 0).sum().clamp(min=1)


def magnitude_loss(uncentred: Tensor, known: Tensor) -> Tensor:
    """Return the mean square of appearances (B, A, E) where `known` (B, A).

    What all regions of an anatomy share is taken off before they are compared and their length is made 1 after, so
    nothing else keeps the shared part small.
    """
    count = known.sum().clamp(min=1) * uncentred.shape[-1]
    return (uncentred.square() * known[..., None]).sum() / count


def likeness(a: Tensor, b: Tensor, pneumonia: Tensor) -> Tensor:
    """Return how much findings `a` (N,) and `b` (M,) overlap (N, M): 1 the same, .1 two kinds of one disease, else 0.

    `pneumonia` says of each finding whether it is a kind of that disease; an unknown finding (-1) is like nothing.
    """
    same = (a[:, None] == b[None]).float()
    related = (pneumonia[a.clamp(min=0)][:, None] & pneumonia[b.clamp(min=0)][None]).float()
    stated = ((a >= 0)[:, None] & (b >= 0)[None]).float()
    return torch.maximum(same, RELATED * related) * stated


def spread(logits: Tensor, allowed: Tensor, temperature: float) -> Tensor:
    """Return the uniformity loss (Wang and Isola 2020) over pairs of different patients' same region."""
    closeness = (2 * 2 * (logits * temperature - 1)).exp() * allowed
    return (closeness.sum() / allowed.sum().clamp(min=1)).clamp(min=1e-6).log()
