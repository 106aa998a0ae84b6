"""The last stage: where the boxes lie, with everything that vectors depend on held fixed.

The films are shown half as they are and half in random views, and only the detector's own layers learn. Vectors of a
given box stay exactly what they were.
"""

import copy
import dataclasses
import datetime as dt
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from models.data.folder import read_folder
from models.data.tensors import FilmTensors, load_films
from models.detector import Detection
from models.network import RegionNetwork
from models.registry import ModelCard, load_model, model_folder, read_card, save_model
from models.train.augment import Views, random_views
from models.train.config import TrainConfig
from models.train.loop import Progress
from models.train.losses import WEIGHTS, box_losses
from models.train.run import Listener, training_films
from models.train.step import Sampler

LEARNING_RATE = 1e-3
AVERAGE = 0.995
REPORT_EVERY_S = 5.0
_LEARNING = ("pyramid.to_detect.", "detector.heat.", "detector.shift.", "detector.spread.")


def refine_boxes(start: str, data: Path, out: Path, minutes: float, listener: Listener, *, seed: int = 7) -> ModelCard:
    """Refine the boxes of the model `start` (a folder) on split `train` of `data`; write a model to `out`.

    Raises `DataError`, `ConfigurationError`, `ModelError` as `train` does.
    """
    card = read_card(model_folder(start))
    model = load_model(start)
    chosen, withheld = training_films(read_folder(data))
    listener.note(f"{len(chosen)} films; {withheld} withheld, their patients stand in another split too")
    films = load_films(chosen, card.network.side, listener.loading)
    refined, steps = _refined(model.network, films, minutes, seed, listener.training)
    training = {**card.training, "boxes_refined": {"minutes": minutes, "steps": steps, "seed": seed}}
    version = dt.datetime.now(dt.UTC).strftime("%Y%m%d.%H%M")
    return save_model(out, refined, model.acceptance, dataclasses.replace(card, version=version, training=training))


def _refined(
    network: RegionNetwork, films: FilmTensors, minutes: float, seed: int, report: Callable[[Progress], None]
) -> tuple[RegionNetwork, int]:
    """Return the running average of a copy of `network` whose detector learned for `minutes`, and the steps taken."""
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    config = TrainConfig(name="boxes", description="", minutes=minutes)
    sampler = Sampler(films, config)
    learner = copy.deepcopy(network)
    learning = [p.requires_grad_() for name, p in learner.named_parameters() if name.startswith(_LEARNING)]
    average = copy.deepcopy(learner).requires_grad_(False)
    optimiser = torch.optim.AdamW(learning, lr=LEARNING_RATE, weight_decay=0.01)
    began = reported = time.monotonic()
    step, share, running = 0, 0.0, 0.0
    while share < 1:
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * (0.5 + 0.5 * math.cos(math.pi * share))
        views = _half_plain(films, sampler.draw(2 * config.films_per_step, rng), rng)
        loss = _loss(_detect(learner, views.images), views, learner.config.side)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(learning, 5.0)
        optimiser.step()
        step += 1
        _follow(average, learner, min(AVERAGE, (1 + step) / (10 + step)))
        running += (float(loss.detach()) - running) * (1 if step == 1 else 0.02)
        share = min(1.0, (time.monotonic() - began) / (minutes * 60))
        if time.monotonic() - reported > REPORT_EVERY_S or share >= 1:
            reported = time.monotonic()
            report(Progress(share, step, reported - began, {"boxes": running}))
    return average.eval(), step


def _half_plain(films: FilmTensors, rows: Tensor, rng: torch.Generator) -> Views:
    """Return films (B, 1, S, S), every other as it is, the rest in a random view."""
    plain, other = rows[::2], rows[1::2]
    views = random_views(films.images[other], films.boxes[other], films.known[other], rng)
    return Views(
        torch.cat([films.images[plain, None].float() / 255, views.images]),
        torch.cat([films.boxes[plain], views.boxes]),
        torch.cat([films.known[plain], views.known]),
        torch.cat([torch.zeros_like(films.known[plain]), views.absent]),
    )


def _detect(network: RegionNetwork, images: Tensor) -> Detection:
    with torch.autocast("cpu", torch.bfloat16):
        return network.detect(network.features(images.contiguous(memory_format=torch.channels_last)))


def _loss(found: Detection, views: Views, side: int) -> Tensor:
    losses = box_losses(found, views.boxes / side, views.known)
    return torch.stack([WEIGHTS[name] * value for name, value in losses.items()]).sum()


def _follow(average: RegionNetwork, learner: RegionNetwork, decay: float) -> None:
    with torch.no_grad():
        for kept, now in zip(average.parameters(), learner.parameters(), strict=True):
            kept.lerp_(now, 1 - decay)
