"""What is computed from the training films once the network has learnt: in closed form, without a gradient.

- The embedder's centres: what all training films' regions of one anatomy share.
- Its map of the look: directions that tell films apart count, those that change with the view of one film do not.
- The logits that name an anatomy: where its regions lie among those of all anatomies.
- The detector's agreement: each edge corrected by a linear function of all edges.
- The rule of acceptance: where the features of training films lie.

Shape letters: N films, A anatomies (all 29), E appearance of a region, L look.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.acceptance import Acceptance, fit_acceptance
from models.data.tensors import FilmTensors
from models.embedder import LOGIT_SCALE
from models.network import SLOTS, RegionNetwork
from models.train.augment import Views, random_views
from models.train.config import TrainConfig
from models.train.paste import pasted
from models.train.step import shown

FAR = 2.0
"""A film may lie this many times as far out as 99.5 % of the training films do."""
STRENGTH = 0.5
"""How far the views that are compared with the film itself are from it."""
SHARPNESS = 3.0
"""How much more than in proportion to its reliability a direction of the look counts."""
SHRINKAGE = 1e-2
"""How far the spread of anatomy parts is drawn towards the same in every direction."""
NEVER = -1e4
"""Logit of an anatomy that is switched off."""
RIDGE = 3e-3
"""Of the agreement: how many films' worth of doubt there is that edges say anything of each other, as a share."""
_BATCH = 22

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Seen:
    """What the network says of the training films in one way of showing them; all on the CPU."""

    edges: Tensor
    """(N, A, 4) as fractions of the side"""
    true_edges: Tensor
    """(N, A, 4)"""
    known: Tensor
    """(N, A) bool: in view, so that the edges can be compared"""
    appearance: Tensor
    """(N, A, E), uncentred, at the true boxes"""
    anatomy: Tensor
    """(N, A, D): the anatomy part there"""
    inside: Tensor
    """(N, A) bool: described without anything pasted into it"""
    pooled: Tensor
    """(N, F)"""


def calibrate(network: RegionNetwork, films: FilmTensors, config: TrainConfig, progress: Progress) -> Acceptance:
    """Fit `network` (in place) to `films` and return its rule of acceptance; the same films and seed give the same."""
    rng = torch.Generator().manual_seed(config.seed)
    network.eval()
    network.detector.agreement.zero_()
    total = 3 * len(films)
    plain = _look_at(network, films, config, None, lambda n: progress(n, total))
    moved = _look_at(network, films, config, (rng, 0.0), lambda n: progress(len(films) + n, total))
    around = _look_at(network, films, config, (rng, 1.0), lambda n: progress(2 * len(films) + n, total))
    network.embedder.centres.copy_(_centres(plain))
    looks = slice(network.config.finding_dim, None)
    network.embedder.look_map.copy_(look_map(plain, (moved, around), looks))
    network.detector.agreement.copy_(agreement((plain, moved)))
    with torch.no_grad():
        for parameter, fitted in zip(
            network.embedder.anatomy_logits.parameters(), naming((plain, around)), strict=True
        ):
            parameter.copy_(fitted)
    return fit_acceptance(plain.pooled, FAR)


def _look_at(
    network: RegionNetwork,
    films: FilmTensors,
    config: TrainConfig,
    view: tuple[torch.Generator, float] | None,
    progress: Callable[[int], None],
) -> Seen:
    """Return what `network` sees in all films as they are, or in random views of which a share is pasted around."""
    parts: list[tuple[Tensor, ...]] = []
    device = network.embedder.centres.device
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=config.bf16):
        for start in range(0, len(films), _BATCH):
            rows = torch.arange(start, min(start + _BATCH, len(films)))
            views, inside = _views(films, rows, view, device)
            features = network.features(views.images.contiguous(memory_format=torch.channels_last))
            edges = network.detect(features).edges
            anatomy, appearance = network.embedder.describe(features.embed, views.boxes)
            true = views.boxes / network.config.side
            seen = (edges, true, views.known, appearance, anatomy, inside, features.pooled.float())
            parts.append(tuple(t.cpu() for t in seen))
            progress(int(rows[-1]) + 1)
    return Seen(*(torch.cat(column).clone() for column in zip(*parts, strict=True)))


def _views(
    films: FilmTensors, rows: Tensor, view: tuple[torch.Generator, float] | None, device: torch.device
) -> tuple[Views, Tensor]:
    """Return views of the films `rows` (B,) and which regions (B, A) may be described; see `_look_at`."""
    chosen = shown(films, rows, device)
    if view is None:
        images = chosen.images[:, None].float() / 255
        nothing = torch.zeros_like(chosen.known)
        return Views(images, chosen.boxes, chosen.known, nothing, images, chosen.masked), chosen.known
    rng, share = view
    views = random_views(chosen, rng, STRENGTH)
    if share == 0:
        return views, views.known
    # the first half stays whole there, so each film is given twice and the second half is taken
    twice = Views(*(torch.cat([t, t]) for t in views))
    made, inside, _ = pasted(twice, rows.repeat(2), share, rng)
    return Views(*(t[len(rows) :] for t in made)), inside[len(rows) :]


def _centres(plain: Seen) -> Tensor:
    """Return the mean appearance (A, E) of each anatomy; zeros where it has none."""
    total = (plain.appearance * plain.inside[..., None]).sum(dim=0)
    centres: Tensor = total / plain.inside.sum(dim=0).clamp(min=1)[:, None]
    return centres


def naming(ways: tuple[Seen, ...]) -> tuple[Tensor, Tensor]:
    """Return weight (A, D) and bias (A,) of the logits that name the anatomy: a linear discriminant analysis.

    Each anatomy counts alike; one without boxes is never named.
    """
    parts, inside = (torch.cat([getattr(w, name) for w in ways]) for name in ("anatomy", "inside"))
    length = parts.shape[-1]
    weight, bias = torch.zeros(SLOTS, length), torch.full((SLOTS,), NEVER)
    slots = [slot for slot in range(SLOTS) if int(inside[:, slot].sum()) > 1]
    own = {slot: parts[inside[:, slot], slot].double() for slot in slots}
    within = sum((torch.cov(one.T) for one in own.values()), torch.zeros(length, length, dtype=torch.float64))
    within = within + SHRINKAGE * within.diagonal().mean() * torch.eye(length, dtype=torch.float64)
    for slot, one in own.items():
        mean = one.mean(dim=0)
        direction = torch.linalg.solve(within / len(own), mean)
        weight[slot], bias[slot] = direction / LOGIT_SCALE, -0.5 * mean @ direction
    return weight, bias


def look_map(plain: Seen, others: tuple[Seen, ...], looks: slice) -> Tensor:
    """Return the map (L, L) after which a look varies along directions as far as they can be relied on.

    As in linear discriminant analysis: whitened by how much one film's look changes with its view, then each direction
    scaled so that its variance is a power of its reliability, the share of it that is the film's own. Each anatomy
    counts alike.
    """
    look = plain.appearance[..., looks].double()
    total, noise = torch.zeros(2, look.shape[-1], look.shape[-1], dtype=torch.float64)
    for slot in plain.known.any(dim=0).nonzero().flatten().tolist():
        own = look[plain.inside[:, slot], slot]
        if len(own) < 3:
            continue
        total += torch.cov(own.T)
        changes = [
            (other.appearance[:, slot, looks].double() - look[:, slot])[other.inside[:, slot] & plain.inside[:, slot]]
            for other in others
        ]
        change = torch.cat([c - c.mean(dim=0) for c in changes if len(c)])
        noise += change.T @ change / (2 * max(1, len(change)))
    return _reliable(total, noise).float()


def _reliable(total: Tensor, noise: Tensor) -> Tensor:
    identity = torch.eye(len(total), dtype=total.dtype)
    if not bool(noise.diagonal().sum() > 0):
        return identity
    values, vectors = torch.linalg.eigh(noise + 1e-3 * noise.diagonal().mean() * identity)
    whiten = vectors / values.sqrt()
    spread, directions = torch.linalg.eigh(whiten.T @ total @ whiten)
    reliability = (1 - 1 / spread.clamp(min=1e-6)).clamp(min=0)
    scaled: Tensor = whiten @ directions * (reliability**SHARPNESS / spread.clamp(min=1e-6)).sqrt()
    return scaled


def agreement(ways: tuple[Seen, ...]) -> Tensor:
    """Return the correction (4A + 1, 4A): for each edge a ridge regression of its error on all edges that are found.

    The ridge is scaled to the edges' spread, and slots without boxes take no part.
    """
    edges, true = (torch.cat([getattr(w, name) for w in ways]).double() for name in ("edges", "true_edges"))
    known = torch.cat([w.known for w in ways])
    slots = known.any(dim=0).nonzero().flatten()
    columns = (slots[:, None] * 4 + torch.arange(4)).flatten()
    found = torch.cat([edges.flatten(1)[:, columns], torch.ones(len(edges), 1, dtype=edges.dtype)], dim=1)
    correction = torch.zeros(SLOTS * 4 + 1, SLOTS * 4, dtype=edges.dtype)
    rows = torch.cat([columns, torch.tensor([SLOTS * 4])])
    for slot in slots.tolist():
        seen = known[:, slot]
        error = true[seen, slot] - edges[seen, slot]  # (n, 4)
        x = found[seen]
        scale = x.var(dim=0, correction=0).clamp(min=1e-6)
        doubt = torch.diag(torch.cat([scale[:-1], torch.zeros(1, dtype=x.dtype)]) * RIDGE * len(x))
        fitted = torch.linalg.lstsq(x.T @ x + doubt, x.T @ error).solution  # (4A' + 1, 4)
        correction[rows[:, None], slot * 4 + torch.arange(4)] = fitted
    return correction.float()
