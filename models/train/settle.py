"""What a region shows and which anatomy it is, learnt once more from what a finished network sees.

A batch of the training holds 22 views; here nothing but two small perceptrons is left to learn, so that a step compares
hundreds of regions and takes milliseconds. A finding is stated of a whole film: regions teach it as often as they are
large, because the larger one is, the more of what was stated it shows.
Shape letters: N films, A anatomies (all 29), F what is seen of a region, D length of a part.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.embedder import LOGIT_SCALE

RATE, DECAY, DROPOUT = 2e-3, 0.05, 0.2
WARM_UP_STEPS = 20
LABEL_SMOOTHING = 0.1
BATCH = 512
FEWEST = 32
"""A batch with fewer regions than this teaches nothing."""
ANATOMY_STEPS, FINDING_STEPS = 3000, 6000

Draw = Callable[[torch.Generator], tuple[Tensor, Tensor]]
"""Gives what is seen (n, F) of some regions, and their classes (n,) int64."""


@dataclass(frozen=True, slots=True)
class Way:
    """Regions of all films, seen in one way of showing them."""

    seen: Tensor
    """(N, A, F)"""
    shown: Tensor
    """(N, A) bool"""
    chance: float = 1.0
    """How often it is drawn, beside other ways"""


def settle_anatomy(perceptron: nn.Sequential, ways: Sequence[Way], seed: int) -> None:
    """Learn `perceptron` anew: the directions of what it gives tell anatomies apart."""
    of_way = torch.tensor([way.chance for way in ways])

    def draw(rng: torch.Generator) -> tuple[Tensor, Tensor]:
        way = ways[_one_of(of_way, rng)]
        places = way.shown.nonzero()
        chosen = places[torch.randint(0, len(places), (BATCH,), generator=rng)]
        return way.seen[chosen[:, 0], chosen[:, 1]], chosen[:, 1]

    _settle(perceptron, draw, _spread(ways[0]), ways[0].shown.shape[1], ANATOMY_STEPS, seed, centred=False)


def settle_finding(perceptron: nn.Sequential, ways: Sequence[Way], sizes: Tensor, finding: Tensor, seed: int) -> bool:
    """Learn `perceptron` anew: the directions of what it gives, around their anatomy's mean, tell findings apart.

    `sizes` (A,) are the anatomies' areas; `finding` (N,) is -1 where unknown. Returns False, with nothing done, where
    there are not two findings to tell apart.
    """
    stated = finding >= 0
    if len(set(finding[stated].tolist())) < 2:
        return False
    labels = finding[stated]
    known = [Way(way.seen[stated], way.shown[stated], way.chance) for way in ways]
    of_way = torch.tensor([way.chance for way in ways])
    of_slot = sizes * (known[0].shown.sum(dim=0) >= FEWEST)
    if not bool(of_slot.any()):
        return False

    def draw(rng: torch.Generator) -> tuple[Tensor, Tensor]:
        way, slot = known[_one_of(of_way, rng)], _one_of(of_slot, rng)
        rows = torch.randint(0, len(labels), (BATCH,), generator=rng)
        rows = rows[way.shown[rows, slot]]
        return way.seen[rows, slot], labels[rows]

    _settle(perceptron, draw, _spread(known[0]), int(labels.max()) + 1, FINDING_STEPS, seed, centred=True)
    return True


def _settle(
    perceptron: nn.Sequential,
    draw: Draw,
    spread: tuple[Tensor, Tensor],
    classes: int,
    steps: int,
    seed: int,
    *,
    centred: bool,
) -> None:
    """Learn from what `draw` gives; `spread` is mean and standard deviation (F,) of it.

    `centred`: the batches are of one anatomy each, and only what differs from their mean counts.
    """
    mean, deviation = spread
    rng = torch.Generator().manual_seed(seed)
    made = copy.deepcopy(perceptron).cpu().requires_grad_(True)
    first, norm, rectifier, last = made
    assert isinstance(first, nn.Linear)
    assert isinstance(norm, nn.LayerNorm)
    assert isinstance(last, nn.Linear)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in (first, norm, last):
            layer.reset_parameters()
        classify = nn.Linear(last.out_features, classes)
        optimiser = torch.optim.AdamW([*made.parameters(), *classify.parameters()], weight_decay=DECAY)
        for step in range(steps):
            seen, wanted = draw(rng)
            if len(wanted) < FEWEST:
                continue
            for group in optimiser.param_groups:
                group["lr"] = RATE * min(1.0, (step + 1) / WARM_UP_STEPS) * (1 - step / steps)
            found = last(F.dropout(rectifier(norm(first((seen - mean) / deviation))), DROPOUT))
            part = F.normalize(found - found.mean(dim=0) if centred else found, dim=-1)
            loss = F.cross_entropy(classify(part * LOGIT_SCALE), wanted, label_smoothing=LABEL_SMOOTHING)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    with torch.no_grad():  # from here on the perceptron gets what is seen as it is
        first.weight.div_(deviation)
        first.bias.sub_(first.weight @ mean)
    perceptron.load_state_dict(made.state_dict())


def _spread(way: Way) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (F,) of what is seen of regions, each around its anatomy's mean."""
    slots = [slot for slot in range(way.shown.shape[1]) if int(way.shown[:, slot].sum()) > 1]
    own = [way.seen[way.shown[:, slot], slot] for slot in slots]
    mean = torch.stack([one.mean(dim=0) for one in own]).mean(dim=0)
    deviation = torch.stack([one.std(dim=0) for one in own]).mean(dim=0)
    return mean, deviation.clamp(min=1e-8)


def _one_of(chance: Tensor, rng: torch.Generator) -> int:
    return int(torch.multinomial(chance, 1, generator=rng))
