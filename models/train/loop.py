"""The training loop: scheduled by the clock, resumable, one line of progress at a time."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.data.tensors import FilmTensors
from models.network import RegionNetwork
from models.train.config import TrainConfig
from models.train.heads import TrainHeads
from models.train.step import Sampler, Step, make_batch
from regionmir.core.errors import ModelError

CLIP_NORM = 5.0
WARM_UP = 0.04
CALM_STRENGTH = 0.5
REPORT_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands. `share` is the share of its time that has passed; losses are running means."""

    share: float
    step: int
    elapsed_s: float
    losses: dict[str, float]


class Run:
    """One training run: the network, its running average, the optimiser, the clock."""

    def __init__(self, config: TrainConfig, films: FilmTensors, weights: dict[str, Tensor] | None) -> None:
        """Start a run on `films`; `weights` are those of the backbone, or None to start from nothing."""
        torch.manual_seed(config.seed)
        self.config, self.films = config, films
        self.rng = torch.Generator().manual_seed(config.seed)
        self.network = RegionNetwork(config.network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if weights is not None:
            self.network.backbone.load_state_dict(weights)
            self.network.backbone.freeze(config.frozen_stages)
        self.heads = TrainHeads(config.network, len(films.finding_names))
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.optimiser = torch.optim.AdamW(self._groups(), weight_decay=config.weight_decay)
        self.sampler = Sampler(films, config)
        self.step_losses = Step(self.network, self.heads, films, config)
        self.step, self.elapsed_s = 0, 0.0
        self.running: dict[str, float] = {}

    def _groups(self) -> list[dict[str, object]]:
        backbone = [p for p in self.network.backbone.parameters() if p.requires_grad]
        chosen = {id(p) for p in self.network.backbone.parameters()}
        rest = [p for p in self.network.parameters() if id(p) not in chosen] + list(self.heads.parameters())
        return [{"params": backbone, "factor": self.config.backbone_rate}, {"params": rest, "factor": 1.0}]

    @property
    def share(self) -> float:
        """The share of the run's time, or of its steps, that has passed."""
        steps = self.step / self.config.steps if self.config.steps else 0.0
        return min(1.0, max(steps, self.elapsed_s / (self.config.minutes * 60)))

    def advance(self) -> None:
        """Take one step. Raises `ModelError` with the films' names where a loss is not finite."""
        strength = CALM_STRENGTH if self.share > 1 - self.config.calm else 1.0
        batch = make_batch(self.films, self.sampler, self.config, self.rng, strength)
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * group["factor"] * _rate(self.share)
        losses = self.step_losses.losses(batch, self.rng, classify=self.share >= self.config.anatomy_stage)
        total = self.step_losses.total(losses)
        if not bool(torch.isfinite(total)):
            names = sorted({self.films.films[i].name for i in batch.rows.tolist()})
            raise ModelError(f"step {self.step}: the loss is not finite; films: {', '.join(names)}")
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_([p for g in self.optimiser.param_groups for p in g["params"]], CLIP_NORM)
        self.optimiser.step()
        self._follow({name: float(value.detach()) for name, value in losses.items()})

    def _follow(self, losses: dict[str, float]) -> None:
        self.step += 1
        decay = min(self.config.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for kept, now in zip(self.average.parameters(), self.network.parameters(), strict=True):
                kept.lerp_(now, 1 - decay)
        for name, value in losses.items():
            self.running[name] = 0.95 * self.running.get(name, value) + 0.05 * value

    def state(self) -> dict[str, object]:
        """Return what `resume` needs to go on exactly here."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "heads": self.heads.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "rng": self.rng.get_state(),
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "seed": self.config.seed,
            "films": len(self.films),
        }

    def resume(self, file: Path) -> None:
        """Go on from the checkpoint `file`. Raises `ModelError` where it is of another run."""
        try:
            state = torch.load(file, weights_only=True)
            if (state["seed"], state["films"]) != (self.config.seed, len(self.films)):
                raise ModelError(f"{file} is a checkpoint of another configuration or other films")
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.heads.load_state_dict(state["heads"])
            self.optimiser.load_state_dict(state["optimiser"])
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            raise ModelError(f"{file} is no checkpoint of this network: {error}") from None
        self.rng.set_state(state["rng"])
        self.step, self.elapsed_s = state["step"], state["elapsed_s"]


def train_run(run: Run, checkpoint: Path | None, report: Callable[[Progress], None]) -> None:
    """Advance `run` until its time is over; writes `checkpoint` now and then, by replacing the file."""
    run.network.train()
    clock = time.monotonic() - run.elapsed_s
    saved = reported = run.elapsed_s
    while run.share < 1:
        run.advance()
        run.elapsed_s = time.monotonic() - clock
        if run.elapsed_s - reported > REPORT_EVERY_S or run.share >= 1:
            reported = run.elapsed_s
            report(Progress(run.share, run.step, run.elapsed_s, dict(run.running)))
        if checkpoint and run.elapsed_s - saved > run.config.checkpoint_minutes * 60:
            saved = run.elapsed_s
            save_checkpoint(run, checkpoint)
    if checkpoint:
        save_checkpoint(run, checkpoint)


def save_checkpoint(run: Run, file: Path) -> None:
    """Write `run` to `file`, never half."""
    part = file.with_suffix(".part")
    torch.save(run.state(), part)
    part.replace(file)


def _rate(share: float) -> float:
    """Return the learning rate as a share of its peak: a short rise, then half a cosine."""
    if share < WARM_UP:
        return max(0.02, share / WARM_UP)
    return 0.5 + 0.5 * math.cos(math.pi * (share - WARM_UP) / (1 - WARM_UP))
