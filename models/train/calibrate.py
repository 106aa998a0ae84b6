"""What is computed from the training films once the network has learnt and does not change any more.

- What regions show, and which anatomy they are: two small perceptrons, learnt anew (`models.train.settle`).

The rest in closed form, without a gradient:

- The rule of acceptance: where the features of training films lie.
- The embedder's centres: what all training films' regions of one anatomy share.
- Its map of the look: directions that tell films apart count, those that change with the view of one film do not.
- The logits that name an anatomy: where its regions lie among those of all anatomies.
- The detector's agreement: each edge corrected by a linear function of all edges.

And by a convex fit with one answer:

- The detector's witness: which anatomies are in view (`models.train.witness`).

Shape letters: N films, A anatomies (all 29), F what is seen of a region, E its appearance, L look.
"""

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from models.acceptance import Acceptance, fit_acceptance
from models.data.tensors import FilmTensors
from models.embedder import LOGIT_SCALE, Embedder
from models.network import SLOTS, RegionNetwork
from models.train.config import TrainConfig
from models.train.seen import SHOWINGS, Described, Seen, describe, look_at
from models.train.settle import Way, settle_anatomy, settle_finding
from models.train.witness import CUTS, InView, look_at_cut, witness

FAR = 2.0
"""A film may lie this many times as far out as 99.5 % of the training films do."""
SHARPNESS = 3.0
"""How much more than in proportion to its reliability a direction of the look counts."""
SHRINKAGE = 1e-2
"""How far the spread of anatomy parts is drawn towards the same in every direction."""
NEVER = -1e4
"""Logit of an anatomy that is switched off."""
RIDGE = 3e-3
"""Of the agreement: how many films' worth of doubt there is that edges say anything of each other, as a share."""

Progress = Callable[[int, int], None]


def calibrate(network: RegionNetwork, films: FilmTensors, config: TrainConfig, progress: Progress) -> Acceptance:
    """Fit `network` (in place) to `films` and return its rule of acceptance; the same films and seed give the same."""
    rng = torch.Generator().manual_seed(config.seed)
    network.eval()
    network.detector.agreement.zero_()
    ways: list[Seen] = []
    passes = len(SHOWINGS) + CUTS
    for showing in SHOWINGS:
        done = functools.partial(_told, progress, len(ways) * len(films), passes * len(films))
        ways.append(look_at(network, films, config.bf16, showing, rng, done))
    plain, moved, *around, _ = ways
    embedder = network.embedder
    if config.settle:
        _settle(embedder, ways, films, config.seed)
    as_is, *changed = (describe(embedder, way) for way in (plain, moved, *around))
    embedder.centres.copy_(_centres(as_is))
    embedder.look_map.copy_(look_map(as_is, changed, slice(network.config.finding_dim, None)))
    network.detector.agreement.copy_(agreement((plain, moved)))
    done = functools.partial(_told, progress, len(ways) * len(films), passes * len(films))
    in_view = (InView.of(plain), look_at_cut(network, films, config.bf16, rng, done))
    network.detector.witness.copy_(witness(in_view))
    with torch.no_grad():
        for parameter, fitted in zip(embedder.anatomy_logits.parameters(), naming((as_is, changed[1])), strict=True):
            parameter.copy_(fitted)
    return fit_acceptance(plain.pooled, FAR)


def _told(progress: Progress, before: int, total: int, done: int) -> None:
    progress(before + done, total)


def _settle(embedder: Embedder, ways: Sequence[Seen], films: FilmTensors, seed: int) -> None:
    """Learn anew what tells anatomies apart, in all `ways`, and findings, in all but the one without surroundings."""
    areas = (films.boxes[..., 2:] - films.boxes[..., :2]).prod(dim=-1) * films.known
    sizes = areas.sum(dim=0) / films.known.sum(dim=0).clamp(min=1)
    chances = [1 / SHOWINGS.count(showing) for showing in SHOWINGS]  # the kinds count alike
    weighted = list(zip(ways, chances, strict=True))
    looks = [Way(way.look, way.inside, chance) for way, chance in weighted[:-1]]
    settle_finding(embedder.to_finding, looks, sizes, films.finding, seed)
    whole = [Way(torch.cat([way.look, way.place], dim=-1), way.inside, chance) for way, chance in weighted]
    settle_anatomy(embedder.to_anatomy, whole, seed)


def _centres(plain: Described) -> Tensor:
    """Return the mean appearance (A, E) of each anatomy; zeros where it has none."""
    total = (plain.appearance * plain.inside[..., None]).sum(dim=0)
    centres: Tensor = total / plain.inside.sum(dim=0).clamp(min=1)[:, None]
    return centres


def naming(ways: Sequence[Described]) -> tuple[Tensor, Tensor]:
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


def look_map(plain: Described, others: Sequence[Described], looks: slice) -> Tensor:
    """Return the map (L, L) after which a look varies along directions as far as they can be relied on.

    As in linear discriminant analysis: whitened by how much one film's look changes with its view, then each direction
    scaled so that its variance is a power of its reliability, the share of it that is the film's own. Each anatomy
    counts alike.
    """
    look = plain.appearance[..., looks].double()
    total, noise = torch.zeros(2, look.shape[-1], look.shape[-1], dtype=torch.float64)
    for slot in plain.inside.any(dim=0).nonzero().flatten().tolist():
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


def agreement(ways: Sequence[Seen]) -> Tensor:
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
