"""The training loop: scheduled by the clock, resumable, one line of progress at a time."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from models.data.tensors import FilmTensors
from models.network import RegionNetwork
from models.train.config import TrainConfig
from models.train.crop import CropNetwork
from models.train.heads import TrainHeads
from models.train.parallel import average_gradients, gathered, of_first, rank, training_device, world_size
from models.train.step import Sampler, Step, make_batch
from regionmir.core.errors import ModelError

CLIP_NORM = 5.0
WARM_UP = 0.04
CALM_STRENGTH = 0.25
"""How far views are from the film itself at the end of a run; 1 at its start."""
REPORT_EVERY_S = 5.0
TENTHS = 10
Curve = list[dict[str, tuple[float, int]]]
"""For each tenth of a run and each loss: its sum, and over how many steps."""
SEEDS_APART = 100_003
"""Between the seeds of two processes of one run."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands. `share` is the share of its time that has passed; losses are running means."""

    share: float
    step: int
    elapsed_s: float
    losses: dict[str, float]
    total: float
    """Running mean of the weighted sum of the losses."""
    learning_rate: float
    validation: dict[str, float] = field(default_factory=dict)
    """Figures on validation films, where they were computed just now."""


class Run:
    """One training run: the network, its running average, the optimiser, the clock."""

    def __init__(self, config: TrainConfig, films: FilmTensors, weights: dict[str, Tensor] | None) -> None:
        """Start a run on `films`; `weights` are those of the backbone, or None to start from nothing.

        Raises `ConfigurationError` where `config.device` does not exist.
        """
        torch.manual_seed(config.seed)
        self.config, self.films, self.device = config, films, training_device(config.device)
        self.rng = torch.Generator().manual_seed(config.seed + SEEDS_APART * rank())
        network = CropNetwork(config.network, config.crop_px) if config.crop_px else RegionNetwork(config.network)
        if weights is not None:
            network.backbone.load_state_dict(weights)
            network.backbone.freeze(config.frozen_stages)
        self.heads = TrainHeads(config.network, len(films.finding_names)).to(self.device)
        self.network: RegionNetwork = network.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.optimiser = torch.optim.AdamW(self._groups(), weight_decay=config.weight_decay)
        self.sampler = Sampler(films, config)
        self.step_losses = Step(self.network, self.heads, films, config, self.device)
        self.processes = world_size()
        self.step, self.elapsed_s = 0, 0.0
        self.running: dict[str, float] = {}
        self.curve: Curve = [{} for _ in range(TENTHS)]
        self.validations: list[dict[str, float]] = []

    def _groups(self) -> list[dict[str, object]]:
        backbone = [p for p in self.network.backbone.parameters() if p.requires_grad]
        chosen = {id(p) for p in self.network.backbone.parameters()}
        rest = [p for p in self.network.parameters() if id(p) not in chosen] + list(self.heads.parameters())
        return [{"params": backbone, "factor": self.config.backbone_rate}, {"params": rest, "factor": 1.0}]

    @property
    def learnt(self) -> list[nn.Parameter]:
        """The parameters that the optimiser changes."""
        return [p for group in self.optimiser.param_groups for p in group["params"]]

    @property
    def share(self) -> float:
        """The share of the run's time, or of its steps, that has passed."""
        if self.config.untrained:
            return 1.0
        steps = self.step / self.config.steps if self.config.steps else 0.0
        return min(1.0, max(steps, self.elapsed_s / (self.config.minutes * 60)))

    @property
    def progress(self) -> Progress:
        """Where the run stands."""
        rate = self.config.learning_rate * _rate(self.share)
        losses = {n: v for n, v in self.running.items() if n != "total"}
        return Progress(self.share, self.step, self.elapsed_s, losses, self.running.get("total", math.nan), rate)

    def advance(self) -> None:
        """Take one step. Raises `ModelError` with the films' names where a loss is not finite."""
        strength = _strength(self.share, self.config.calm)
        torch.manual_seed(self.config.seed + SEEDS_APART * rank() + self.step)  # of dropout: exact resume
        chosen = self.sampler.draw(self.config.films_per_step, self.rng)
        batch = make_batch(self.films, chosen, self.config, self.rng, strength, self.device)
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * group["factor"] * _rate(self.share)
        losses = self.step_losses.losses(batch, self.rng, classify=self.share >= self.config.anatomy_stage)
        total = self.step_losses.total(losses)
        if not bool(torch.isfinite(total)):
            names = sorted({self.films.films[i].name for i in batch.rows.tolist()})
            raise ModelError(f"step {self.step}: the loss is not finite; films: {', '.join(names)}")
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        average_gradients(self.learnt)
        torch.nn.utils.clip_grad_norm_(self.learnt, CLIP_NORM)
        self.optimiser.step()
        self._follow({name: float(value.detach()) for name, value in (losses | {"total": total}).items()})

    def _follow(self, losses: dict[str, float]) -> None:
        tenth = self.curve[min(TENTHS - 1, int(self.share * TENTHS))]
        self.step += 1
        decay = min(self.config.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for kept, now in zip(self.average.parameters(), self.network.parameters(), strict=True):
                kept.lerp_(now, 1 - decay)
        for name, value in losses.items():
            self.running[name] = 0.95 * self.running.get(name, value) + 0.05 * value
            total, count = tenth.get(name, (0.0, 0))
            tenth[name] = (total + value, count + 1)

    def state(self) -> dict[str, object]:
        """Return what `resume` needs to go on exactly here. All processes of a run must ask for it together."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "heads": self.heads.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "rng": gathered(self.rng.get_state(), self.device),
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "running": self.running,
            "curve": self.curve,
            "validations": self.validations,
            "seed": self.config.seed,
            "films": len(self.films),
        }

    def resume(self, file: Path) -> None:
        """Go on from the checkpoint `file`. Raises `ModelError` where it is of another run."""
        try:
            state = torch.load(file, weights_only=True, map_location=self.device)
            if (state["seed"], state["films"]) != (self.config.seed, len(self.films)):
                raise ModelError(f"{file} is a checkpoint of another configuration or other films")
            if len(state["rng"]) != self.processes:
                raise ModelError(f"{file} is of a run in {len(state['rng'])} processes: start as many")
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.heads.load_state_dict(state["heads"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.running, self.curve, self.validations = state["running"], state["curve"], state["validations"]
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            raise ModelError(f"{file} is no checkpoint of this network: {error}") from None
        self.rng.set_state(state["rng"][rank()].cpu())
        self.step, self.elapsed_s = state["step"], state["elapsed_s"]


Validate = Callable[[Run], dict[str, float]]


def train_run(
    run: Run, checkpoint: Path | None, report: Callable[[Progress], None], validate: Validate | None = None
) -> None:
    """Advance `run` until its time is over; writes `checkpoint` now and then, by replacing the file.

    `validate` is asked for figures every `validate_minutes` and at the end; the time that it takes does not count.
    """
    run.network.train()
    clock = time.monotonic() - run.elapsed_s
    reports, saves, checks = (_Alarm(run.elapsed_s, every) for every in _intervals_s(run.config))
    while run.share < 1:
        run.advance()
        run.elapsed_s = of_first(time.monotonic() - clock, run.device)
        over = run.share >= 1
        if validate and (checks.rings(run.elapsed_s) or (over and checks.every_s)):
            clock += _validate(run, validate, report)
        elif reports.rings(run.elapsed_s) or over:
            report(run.progress)
        if checkpoint and saves.rings(run.elapsed_s):
            save_checkpoint(run, checkpoint)
    if checkpoint:
        save_checkpoint(run, checkpoint)


def save_checkpoint(run: Run, file: Path) -> None:
    """Write `run` to `file`, never half. All processes of a run must call it together; the first one writes."""
    state = run.state()
    if rank() == 0:
        part = file.with_suffix(".part")
        torch.save(state, part)
        part.replace(file)


def _validate(run: Run, validate: Validate, report: Callable[[Progress], None]) -> float:
    """Note and report what `validate` says; return how many seconds that took."""
    started = time.monotonic()
    figures = validate(run)
    run.validations.append({"step": run.step, "share": run.share} | figures)
    report(replace(run.progress, validation=figures))
    return time.monotonic() - started


class _Alarm:
    """Rings once `every_s` seconds have passed since it last rang; never where that is 0."""

    def __init__(self, now_s: float, every_s: float) -> None:
        self.last_s, self.every_s = now_s, every_s

    def rings(self, now_s: float) -> bool:
        if not self.every_s or now_s - self.last_s <= self.every_s:
            return False
        self.last_s = now_s
        return True


def _intervals_s(config: TrainConfig) -> tuple[float, float, float]:
    return REPORT_EVERY_S, config.checkpoint_minutes * 60, config.validate_minutes * 60


def _strength(share: float, calm: float) -> float:
    """Return how far views are from the film itself: it falls evenly over the last share `calm` of a run."""
    return 1 - (1 - CALM_STRENGTH) * max(0.0, share - (1 - calm)) / calm if calm else 1.0


def _rate(share: float) -> float:
    """Return the learning rate as a share of its peak: a short rise, then half a cosine."""
    if share < WARM_UP:
        return max(0.02, share / WARM_UP)
    return 0.5 + 0.5 * math.cos(math.pi * (share - WARM_UP) / (1 - WARM_UP))
