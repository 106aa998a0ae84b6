"""One training step: draw films, make views, run the network, add up the losses.

Shape letters: B views, A anatomies (all 29), S side of the input.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.data.tensors import FilmTensors
from models.embedder import LOGIT_SCALE
from models.network import NetworkConfig, RegionNetwork
from models.train.augment import Views, jittered, random_views
from models.train.config import TrainConfig
from models.train.contrast import Regions, within_anatomy_losses
from models.train.losses import WEIGHTS, anatomy_contrast, box_losses, frontal_loss, presence_loss
from models.train.negatives import negatives

FINDING_STEP, LOOK_STEP = 0.3, 0.8
"""How far the centres of the parts move to the mean of each batch."""
MEMORY = 384
"""How many views' regions are remembered to be compared with."""


class FindingHead(nn.Module):
    """Names the finding from the finding part; used in training only."""

    def __init__(self, config: NetworkConfig, findings: int) -> None:
        super().__init__()
        self.logits = nn.Linear(config.finding_dim, max(1, findings))

    def forward(self, part: Tensor) -> Tensor:
        """Map (..., D_finding) to logits (..., findings)."""
        logits: Tensor = self.logits(part * LOGIT_SCALE)
        return logits


@dataclass(slots=True)
class Batch:
    """Views of films, two of each, then negatives."""

    views: Views
    negative: Tensor
    rows: Tensor
    """(B,) int64: the film of each view"""


class Sampler:
    """Draws films: a fixed share of adults, the rest spread evenly over the sources."""

    def __init__(self, films: FilmTensors, config: TrainConfig) -> None:
        adult = torch.tensor([f.age_group == "adult" for f in films.films])
        sources = sorted({f.source for f in films.films})
        source = torch.tensor([sources.index(f.source) for f in films.films])
        chance = 1.0 / torch.bincount(source)[source].double()
        for group, share in ((adult, config.adults), (~adult, 1 - config.adults)):
            if group.any() and not group.all():
                chance[group] *= share / chance[group].sum()
        self.chance = chance

    def draw(self, count: int, rng: torch.Generator) -> Tensor:
        """Return `count` different rows."""
        return torch.multinomial(self.chance, min(count, len(self.chance)), generator=rng)


def make_batch(films: FilmTensors, sampler: Sampler, config: TrainConfig, rng: torch.Generator) -> Batch:
    """Return the next batch."""
    rows = sampler.draw(config.films_per_step, rng).repeat(2)
    views = random_views(films.images[rows], films.boxes[rows], films.known[rows], rng)
    others = torch.randint(0, len(films), (config.negatives_per_step,), generator=rng)
    return Batch(views, negatives(films.images[others], rng), rows)


class Step:
    """Computes the losses of one batch; remembers regions of the batches before."""

    def __init__(self, network: RegionNetwork, head: FindingHead, films: FilmTensors, config: TrainConfig) -> None:
        self.network, self.head, self.films, self.config = network, head, films, config
        self.pneumonia = torch.tensor(["pneumonia" in n for n in films.finding_names] or [False])
        self.weights = WEIGHTS | config.weights
        self.slots = films.known.any(dim=0).nonzero().squeeze(-1)  # the others have no box to learn from
        self.memory: Regions | None = None

    def losses(self, batch: Batch, rng: torch.Generator, classify: bool) -> dict[str, Tensor]:
        """Return every loss by name, unweighted. `classify` adds the second stage's classifiers."""
        views, count = batch.views, len(batch.rows)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.bf16):
            features = self.network.features(torch.cat([views.images, batch.negative]))
            found = self.network.detect(features)
            boxes = jittered(views.boxes, rng)[:, self.slots]
            anatomy, uncentred = self.network.embedder.describe(features.embed[:count], boxes)
        known = views.known[:, self.slots]
        self._follow_centres(uncentred.detach(), known)
        embedding = self.network.embedder.join(anatomy, uncentred, self.slots.expand(known.shape))
        frontal = torch.cat([torch.ones(count), torch.zeros(len(batch.negative))])
        present = F.pad(views.known, (0, 0, 0, len(batch.negative)))
        absent = F.pad(views.absent, (0, 0, 0, len(batch.negative)), value=True)
        located = type(found)(*(t[:count] for t in found))
        losses = box_losses(located, views.boxes / self.network.config.side, views.known)
        losses["presence"] = presence_loss(found, present, absent)
        losses["frontal"] = frontal_loss(found, frontal)
        losses["anatomy_contrast"] = anatomy_contrast(embedding.anatomy, known, self.config.temperature)
        finding = self.films.finding[batch.rows]
        regions = Regions(
            embedding.finding.transpose(0, 1),
            embedding.look.transpose(0, 1),
            known.T,
            batch.rows,
            self.films.patient[batch.rows],
            finding,
        )
        losses |= within_anatomy_losses(regions, self.memory, self.pneumonia, self.config.temperature)
        self.memory = (regions.followed_by(self.memory) if self.memory else regions).first(MEMORY)
        if classify:
            losses["anatomy_class"] = _anatomy_class(self.network, embedding.anatomy, self.slots, known)
            losses["finding_class"] = self._finding_class(embedding.finding, known, finding)
        return losses

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """Return the weighted sum."""
        return torch.stack([self.weights[name] * value for name, value in losses.items()]).sum()

    def _follow_centres(self, uncentred: Tensor, known: Tensor) -> None:
        """Let the centres follow the mean appearance of each anatomy in recent batches, this one included.

        The look's centre must not lag behind: what it leaves in makes all regions alike. The finding's mean depends on
        which findings a batch happens to hold, so it is taken over several.
        """
        parts = self.network.config.parts
        step = torch.cat([torch.full((parts.finding,), FINDING_STEP), torch.full((parts.look,), LOOK_STEP)])
        count = known.sum(dim=0)
        mean = (uncentred * known[..., None]).sum(dim=0) / count.clamp(min=1)[:, None]
        seen, centres = self.slots[count > 0], self.network.embedder.centres
        fresh = ~centres[seen].any(dim=-1, keepdim=True)
        centres[seen] = torch.where(fresh, mean[count > 0], centres[seen].lerp(mean[count > 0], step))

    def _finding_class(self, part: Tensor, known: Tensor, finding: Tensor) -> Tensor:
        stated = known & (finding >= 0)[:, None]
        if not stated.any():
            return part.sum() * 0
        wanted = finding[:, None].expand_as(known)[stated]
        return F.cross_entropy(self.head(part[stated]), wanted, label_smoothing=0.05)


def _anatomy_class(network: RegionNetwork, anatomy: Tensor, slots: Tensor, known: Tensor) -> Tensor:
    logits = network.embedder.classify(anatomy[known])
    return F.cross_entropy(logits, slots.expand_as(known)[known])
