"""Figures on films that a run never learns from, while it goes on: overlap of boxes and the losses.

They are of the running average of the weights, before it is calibrated: those of `regionmir model evaluate` are better.
Shape letters: N films, A anatomies (all 29).
"""

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from models.data.films import Film
from models.data.tensors import FilmTensors, load_films
from models.evaluate.detection import found_overlaps
from models.network import RegionNetwork
from models.train.config import TrainConfig
from models.train.loop import CALM_STRENGTH, Run
from models.train.step import Step, make_batch

MOST_FILMS = 128


class Validation:
    """Films to validate on, decoded once. It draws from a generator of its own, and changes nothing of a run."""

    def __init__(self, films: Sequence[Film], training: FilmTensors, side: int) -> None:
        """Keep at most `MOST_FILMS` of `films`, spread evenly. Raises `DataError` where one cannot be read."""
        chosen = films[:: max(1, -(-len(films) // MOST_FILMS))]
        self.films = _with_findings_of(training, load_films(chosen, side))

    def __call__(self, run: Run) -> dict[str, float]:
        """Return `iou`, the mean overlap of known boxes, and `loss`, the mean weighted sum of the losses, of `run`."""
        network = copy.deepcopy(run.average).eval()
        network.embedder.centres.copy_(run.network.embedder.centres)  # training keeps no average of them
        with torch.no_grad():
            overlaps = found_overlaps(network, self.films, run.device, bf16=run.config.bf16)[self.films.known.numpy()]
            return {"iou": float(overlaps.mean()) if len(overlaps) else 0.0, "loss": self._mean_loss(network, run)}

    def _mean_loss(self, network: RegionNetwork, run: Run) -> float:
        step = Step(network, run.heads, self.films, run.config, run.device, alone=True)
        rng, totals = torch.Generator().manual_seed(run.config.seed), []
        for rows in self._rows(run.config):
            batch = make_batch(self.films, rows, run.config, rng, CALM_STRENGTH, run.device)
            totals.append(step.total(step.losses(batch, rng, classify=True)))
        return float(torch.stack(totals).mean())

    def _rows(self, config: TrainConfig) -> tuple[Tensor, ...]:
        """Return the rows of all films in batches as large as training's."""
        return torch.split(torch.arange(len(self.films)), config.films_per_step)


def _with_findings_of(training: FilmTensors, films: FilmTensors) -> FilmTensors:
    """Return `films` with findings numbered as in `training`; one that training does not know is unknown."""
    names = training.finding_names
    finding = torch.tensor([names.index(f.finding) if f.finding in names else -1 for f in films.films])
    return replace(films, finding=finding, finding_names=names)
