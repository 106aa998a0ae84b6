"""Which anatomies are in view, told from the edges that a finished network finds.

The network looks for every anatomy in every film, also where a part of the chest is cut off. Its edges then lie along
the border, one upon the other, and are unsure: a linear function of all of them tells. It is fitted to the training
films as they are and to parts of them, each prepared anew as a film would be that shows no more.
Shape letters: N films, B of them, A anatomies (all 29), S side of the input.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.data.tensors import FilmTensors
from models.detector import TESTIMONY, testimony, with_one
from models.network import SLOTS, RegionNetwork
from models.preprocess import prepare, stack
from models.train.augment import PRESENT_ABOVE
from models.train.seen import BATCH, Seen

CUTS = 2
"""Parts of each film that are shown."""
LEAST, MOST = 0.4, 0.9
"""Share of a film that a part keeps."""
ABSENT_BELOW = 0.25
"""An anatomy is out of view where a part shows less of its box; between that and `PRESENT_ABOVE` it is neither."""
PENALTY = 1e-3
"""On the square of a weight, of what varies by 1."""
ROUNDS = 300


@dataclass(frozen=True, slots=True)
class InView:
    """What the edges found in films say of presence, and which anatomies are in view."""

    testimony: Tensor
    """(N, A, `TESTIMONY`)"""
    present: Tensor
    """(N, A) bool"""
    absent: Tensor
    """(N, A) bool"""

    @classmethod
    def of(cls, whole: Seen) -> "InView":
        """Return that of films shown as they are: nothing that has a box is out of view."""
        return cls(whole.testimony, whole.known, torch.zeros_like(whole.known))


def look_at_cut(
    network: RegionNetwork, films: FilmTensors, bf16: bool, rng: torch.Generator, progress: Callable[[int], None]
) -> InView:
    """Return what `network` says of `CUTS` random parts of each film; `progress` is told how many parts are done."""
    device = network.detector.witness.device
    parts: list[tuple[Tensor, ...]] = []
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        for number, rows in enumerate(torch.split(torch.arange(len(films)).repeat(CUTS), BATCH)):
            images, shares = random_parts(films.images[rows], films.boxes[rows], rng)
            found = network.detect(network.features(images.to(device).contiguous(memory_format=torch.channels_last)))
            known = films.known[rows]
            said = testimony(found.edges, found.edge_error, found.heat).cpu()
            parts.append((said, known & (shares >= PRESENT_ABOVE), known & (shares < ABSENT_BELOW)))
            progress(number * BATCH + len(rows))
    return InView(*(torch.cat(column).clone() for column in zip(*parts, strict=True)))


def random_parts(images: Tensor, boxes: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return a random part of each of `images` (B, S, S) uint8, and the share of `boxes` (B, A, 4) that it shows.

    Parts keep the lower, upper, left or right side of a film over its whole width or height; they are inputs
    (B, 1, S, S) again, shares are (B, A).
    """
    side = images.shape[-1]
    made, shares = [], []
    for image, of_film in zip(images, boxes, strict=True):
        axis, end = (int(v) for v in torch.randint(0, 2, (2,), generator=rng))
        kept = round(side * (LEAST + (MOST - LEAST) * float(torch.rand((), generator=rng))))
        start = (side - kept) * end
        part = image.narrow(1 - axis, start, kept).numpy()  # axis 0 is x, the array's second
        made.append(prepare(np.ascontiguousarray(part, np.float32) / np.float32(255), side))
        low, high = of_film[:, axis], of_film[:, axis + 2]
        seen = high.clamp(max=start + kept) - low.clamp(min=start)
        shares.append((seen / (high - low).clamp(min=1e-6)).clamp(min=0))
    return stack(made), torch.stack(shares)


def witness(shown: Sequence[InView]) -> Tensor:
    """Return weights (A * `TESTIMONY` + 1, A) of the logits of presence: a logistic regression with a penalty.

    Each anatomy that was seen both in view and out of it is told by the edges of all that have boxes. One that was
    always in view is taken to be, the surer the more films said so; the logits of one without boxes are 0.
    """
    said, present, absent = (
        torch.cat([getattr(s, name) for s in shown]) for name in ("testimony", "present", "absent")
    )
    boxed = present.any(dim=0)
    told = boxed & absent.any(dim=0)
    weights = torch.zeros(SLOTS * TESTIMONY + 1, SLOTS)
    weights[-1] = (2 * present.sum(dim=0)).log1p()
    if not bool(told.any()):
        return weights
    seen = said[:, boxed].flatten(1)
    mean, deviation = seen.mean(dim=0), seen.std(dim=0, correction=0).clamp(min=1e-5)
    fitted = _logistic(with_one((seen - mean) / deviation), present[:, told], absent[:, told])
    slopes = fitted[:-1] / deviation[:, None]
    rows = torch.cat([boxed.repeat_interleave(TESTIMONY), torch.tensor([False])]).nonzero().flatten()
    weights[rows[:, None], told.nonzero().flatten()] = slopes
    weights[-1, told] = fitted[-1] - mean @ slopes
    return weights


def _logistic(seen: Tensor, present: Tensor, absent: Tensor) -> Tensor:
    """Return weights (F, T) of the logits of `present` against `absent` (N, T); `seen` (N, F) has ones at its end."""
    stated = (present | absent).float()
    share = stated / stated.sum(dim=0)
    weights = torch.zeros(seen.shape[1], present.shape[1], requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=ROUNDS, history_size=20, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        each = F.binary_cross_entropy_with_logits(seen @ weights, present.float(), reduction="none")
        total = (each * share).sum() + PENALTY * weights[:-1].square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    with torch.enable_grad():
        optimiser.step(loss)  # type: ignore[no-untyped-call]
    return weights.detach()
