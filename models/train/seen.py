"""What the network sees in the training films once it does not change any more, each film shown in several ways.

Shape letters: N films, B of them, A anatomies (all 29), F what is seen of a region, E its appearance, D anatomy part.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.data.tensors import FilmTensors
from models.detector import testimony
from models.embedder import Embedder
from models.network import RegionNetwork
from models.train.augment import Views, jittered, random_views
from models.train.paste import ALONE, pasted
from models.train.step import shown

STRENGTH = 0.5
"""How far moved views are from the film itself."""
BATCH = 22


@dataclass(frozen=True, slots=True)
class Showing:
    """A way of showing the training films: moved or as they are, and what becomes of what lies around a region."""

    moved: bool
    pasted: float = 0.0
    """Share of the films of which one region only is kept"""
    alone: float = ALONE
    """Share of those in which it lies on black, instead of in another film"""


SHOWINGS = (Showing(False), Showing(True), *[Showing(True, 1.0)] * 4, Showing(True, 1.0, 1.0))
"""As they are, moved, with something else around one region (four times, something else each time), with nothing around
it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the network says of the training films in one way of showing them; all on the CPU."""

    testimony: Tensor
    """(N, A, `TESTIMONY`): what edges say of presence"""
    true_edges: Tensor
    """(N, A, 4)"""
    known: Tensor
    """(N, A) bool: in view, so that the edges can be compared"""
    look: Tensor
    """(N, A, F / 2): the pooled map that tells what a region looks like, at about the true boxes"""
    place: Tensor
    """(N, A, F / 2): the pooled map that tells where it lies, there"""
    inside: Tensor
    """(N, A) bool: described without anything pasted into it"""
    pooled: Tensor
    """(N, F)"""

    @property
    def edges(self) -> Tensor:
        """(N, A, 4) as fractions of the side."""
        return self.testimony[..., :4]


@dataclass(frozen=True, slots=True)
class Described:
    """The parts of the vectors of the training films' regions, shown in one way; all on the CPU."""

    appearance: Tensor
    """(N, A, E), uncentred"""
    anatomy: Tensor
    """(N, A, D)"""
    inside: Tensor
    """(N, A) bool: described without anything pasted into it"""


def describe(embedder: Embedder, seen: Seen) -> Described:
    """Return the parts of the vectors of what was `seen`."""
    device = embedder.centres.device
    with torch.no_grad():
        look, place = seen.look.to(device), seen.place.to(device)
        return Described(embedder.appearance(look).cpu(), embedder.anatomy(look, place).cpu(), seen.inside)


def look_at(
    network: RegionNetwork,
    films: FilmTensors,
    bf16: bool,
    way: Showing,
    rng: torch.Generator,
    progress: Callable[[int], None],
) -> Seen:
    """Return what `network` sees in all films, each shown in this way."""
    parts: list[tuple[Tensor, ...]] = []
    device = network.embedder.centres.device
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        for start in range(0, len(films), BATCH):
            rows = torch.arange(start, min(start + BATCH, len(films)))
            views, inside = _views(films, rows, way, rng, device)
            features = network.features(views.images.contiguous(memory_format=torch.channels_last))
            boxes = jittered(views.boxes, rng) if way.moved else views.boxes  # as far off as boxes that are found
            look, place = network.embedder.pooled(network.embedder.cells(features.embed, boxes))
            true = views.boxes / network.config.side
            found = network.detect(features)
            said = testimony(found.edges, found.edge_error, found.heat)
            seen = (said, true, views.known, look, place, inside, features.pooled.float())
            parts.append(tuple(t.cpu() for t in seen))
            progress(int(rows[-1]) + 1)
    return Seen(*(torch.cat(column).clone() for column in zip(*parts, strict=True)))


def _views(
    films: FilmTensors, rows: Tensor, way: Showing, rng: torch.Generator, device: torch.device
) -> tuple[Views, Tensor]:
    """Return views of the films `rows` (B,) and which regions (B, A) may be described."""
    chosen = shown(films, rows, device)
    if not way.moved:
        images = chosen.images[:, None].float() / 255
        return Views(images, chosen.boxes, chosen.known, images, chosen.masked), chosen.known
    views = random_views(chosen, rng, STRENGTH)
    if not way.pasted:
        return views, views.known
    # the first half stays whole there, so each film is given twice and the second half is taken
    twice = Views(*(torch.cat([t, t]) for t in views))
    made, inside, _ = pasted(twice, rows.repeat(2), way.pasted, rng, way.alone)
    return Views(*(t[len(rows) :] for t in made)), inside[len(rows) :]
