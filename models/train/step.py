"""One training step: draw films, make views, run the network, add up the losses.

Shape letters: B views, A anatomies (all 29), S side of the input.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models.data.tensors import FilmTensors
from models.detector import Detection
from models.embedder import Embedding
from models.network import RegionNetwork
from models.train.augment import Shown, Views, jittered, random_views
from models.train.config import TrainConfig
from models.train.contrast import Regions, within_anatomy_losses
from models.train.heads import TrainHeads
from models.train.losses import WEIGHTS, anatomy_contrast, box_losses, magnitude_loss, mask_loss
from models.train.negatives import negatives
from models.train.parallel import summed
from models.train.paste import pasted

FINDING_STEP, LOOK_STEP = 0.3, 0.8
"""How far the centres of the parts move to the mean of each batch."""
CPU = torch.device("cpu")


@dataclass(slots=True)
class Batch:
    """Views of films, two of each, then negatives."""

    views: Views
    inside: Tensor
    """(B, A) bool: regions that may be described"""
    whole: Tensor
    """(B,) bool: views that nothing was pasted around; only in these may regions be looked for"""
    negative: Tensor
    rows: Tensor
    """(B,) int64, on the CPU: the film of each view"""


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


def shown(films: FilmTensors, rows: Tensor, device: torch.device) -> Shown:
    """Return the films `rows` (B,) to make views of, on `device`; all the others stay where they are."""
    every = Shown(films.images, films.boxes, films.known, films.masks, films.masked)
    return Shown(*(t[rows].to(device) for t in every))


def make_batch(
    films: FilmTensors,
    chosen: Tensor,
    config: TrainConfig,
    rng: torch.Generator,
    strength: float = 1.0,
    device: torch.device = CPU,
) -> Batch:
    """Return two views of each of the films `chosen` (n,), and negatives; `strength` is that of the views."""
    rows = chosen.repeat(2)
    views, inside, whole = pasted(
        random_views(shown(films, rows, device), rng, strength, config.parts), rows, config.paste, rng
    )
    others = torch.randint(0, len(films), (config.negatives_per_step,), generator=rng)
    return Batch(views, inside, whole, negatives(films.images[others], rng).to(device), rows)


class Step:
    """Computes the losses of one batch."""

    def __init__(
        self,
        network: RegionNetwork,
        heads: TrainHeads,
        films: FilmTensors,
        config: TrainConfig,
        device: torch.device = CPU,
        *,
        alone: bool = False,
    ) -> None:
        """Compute with `network` and `heads` on `device`; `alone`: in this process, whatever others do."""
        self.network, self.heads, self.films, self.config, self.device = network, heads, films, config, device
        self.pneumonia = torch.tensor(["pneumonia" in n for n in films.finding_names] or [False], device=device)
        self.weights = WEIGHTS | config.weights
        slots = films.known.any(dim=0).nonzero().squeeze(-1)  # the others have no box to learn from
        self.slots = slots.to(device)
        self.summed = (lambda values: values) if alone else summed

    def losses(self, batch: Batch, rng: torch.Generator, classify: bool) -> dict[str, Tensor]:
        """Return every loss by name, unweighted. `classify` adds the second stage's classifier of anatomies."""
        views, count = batch.views, len(batch.rows)
        images = torch.cat([views.images, batch.negative]).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bf16):
            features = self.network.features(images)
            found = self.network.detect(features)
            masks = self.heads.draw_masks(features.detect[:count][batch.whole])
            boxes = jittered(views.boxes, rng)[:, self.slots]
            anatomy, uncentred = self.network.embedder.describe(features.embed[:count], boxes)
        losses = self._detection(found, batch)
        losses["mask"] = mask_loss(masks, views.masks[batch.whole], views.masked[batch.whole])
        known = batch.inside[:, self.slots]
        losses["magnitude"] = magnitude_loss(uncentred, known)
        self._follow_centres(uncentred.detach(), known)
        still = without_shared_gradient(uncentred, known)
        embedding = self.network.embedder.join(anatomy, still, self.slots.expand(known.shape))
        return losses | self._description(embedding, known, batch.rows, classify)

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """Return the weighted sum."""
        return torch.stack([self.weights[name] * value for name, value in losses.items()]).sum()

    def _detection(self, found: Detection, batch: Batch) -> dict[str, Tensor]:
        views, count, refused = batch.views, len(batch.rows), len(batch.negative)
        located = Detection(*(t[:count][batch.whole] for t in found))
        losses = box_losses(located, views.boxes[batch.whole] / self.network.config.side, views.known[batch.whole])
        judged = torch.cat([batch.whole, torch.ones(refused, dtype=torch.bool, device=self.device)])
        frontal = (torch.arange(count + refused, device=self.device) < count).float()
        losses["frontal"] = F.binary_cross_entropy_with_logits(found.frontal[judged], frontal[judged])
        return losses

    def _description(self, embedding: Embedding, known: Tensor, rows: Tensor, classify: bool) -> dict[str, Tensor]:
        finding = self.films.finding[rows].to(self.device)
        regions = Regions(
            embedding.finding.transpose(0, 1),
            embedding.look.transpose(0, 1),
            known.T,
            rows.to(self.device),
            self.films.patient[rows].to(self.device),
            finding,
        )
        losses = within_anatomy_losses(regions, self.pneumonia, self.config.temperature)
        losses["anatomy_contrast"] = anatomy_contrast(embedding.anatomy, known, self.config.temperature)
        losses["finding_class"] = self._finding_class(embedding.finding, known, finding)
        if classify:
            losses["anatomy_class"] = _anatomy_class(self.network, embedding.anatomy, self.slots, known)
        return losses

    def _follow_centres(self, uncentred: Tensor, known: Tensor) -> None:
        """Let the centres follow the mean appearance of each anatomy in recent batches, this one included.

        The look's centre must not lag behind: what it leaves in makes all regions alike. The finding's mean depends on
        which findings a batch happens to hold, so it is taken over several.
        """
        parts = self.network.config.parts
        step = torch.full((parts.finding + parts.look,), LOOK_STEP, device=self.device)
        step[: parts.finding] = FINDING_STEP
        count = self.summed(known.sum(dim=0))
        mean = self.summed((uncentred * known[..., None]).sum(dim=0)) / count.clamp(min=1)[:, None]
        seen, centres = self.slots[count > 0], self.network.embedder.centres
        fresh = ~centres[seen].any(dim=-1, keepdim=True)
        centres[seen] = torch.where(fresh, mean[count > 0], centres[seen].lerp(mean[count > 0], step))

    def _finding_class(self, part: Tensor, known: Tensor, finding: Tensor) -> Tensor:
        stated = known & (finding >= 0)[:, None]
        if not stated.any():
            return part.sum() * 0
        wanted = finding[:, None].expand_as(known)[stated]
        return F.cross_entropy(self.heads.name_finding(part[stated]), wanted, label_smoothing=0.1)


def without_shared_gradient(uncentred: Tensor, known: Tensor) -> Tensor:
    """Return the same appearances (B, A, E), of which no gradient moves the mean of an anatomy in this batch.

    The centres are constants to the losses, so each step would drag what all regions of an anatomy share along, without
    any loss to stop it, until a small change of it drowns what differs.
    """
    count = known.sum(dim=0).clamp(min=1)[:, None]
    mean = (uncentred * known[..., None]).sum(dim=0) / count
    return uncentred - (mean - mean.detach())


def _anatomy_class(network: RegionNetwork, anatomy: Tensor, slots: Tensor, known: Tensor) -> Tensor:
    logits = network.embedder.classify(anatomy[known])
    return F.cross_entropy(logits, slots.expand_as(known)[known])
