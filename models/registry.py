"""Models on disk: a folder with `model.safetensors` and `config.json`, checked before any weight is used."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from models.acceptance import Acceptance
from models.network import NetworkConfig, RegionNetwork
from models.preprocess import preprocessing_hash
from models.region_model import RegionModel
from regionmir.core.anatomy import Anatomy, anatomy_by_name
from regionmir.core.errors import ModelError, UnknownAnatomy
from regionmir.core.records import GenerationInfo

FORMAT = 1
WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "config.json"
SHIPPED = "lite0-cxr20"
_ACCEPTANCE = "acceptance."


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What `config.json` says of a model."""

    name: str
    version: str
    weights_sha256: str
    preprocessing_hash: str
    network: NetworkConfig
    anatomies: tuple[Anatomy, ...]
    min_presence: float
    accept_far: float
    accept_threshold: float
    training: dict[str, Any]
    """How and on what it was trained, with licences; free form."""
    metrics: dict[str, Any]
    """Figures of `regionmir model evaluate`; free form."""

    @property
    def info(self) -> GenerationInfo:
        """What identifies the model's embeddings."""
        dim = self.network.dim
        return GenerationInfo(
            self.name, self.version, self.weights_sha256, dim, self.preprocessing_hash, self.anatomies
        )


def shipped_folder() -> Path:
    """Return the folder of the models that come with the program."""
    return Path(str(files("models"))) / "weights"


def listing(folder: Path | None = None) -> list[tuple[Path, ModelCard | ModelError]]:
    """Return the models in `folder` (default: the shipped ones); what is wrong with one stands in its place."""
    found: list[tuple[Path, ModelCard | ModelError]] = []
    for config in sorted((folder or shipped_folder()).glob(f"*/{CONFIG_FILE}")):
        try:
            card = read_card(config.parent)
            verify_weights(config.parent, card)
            found.append((config.parent, card))
        except ModelError as error:
            found.append((config.parent, error))
    return found


def model_folder(model: str | None) -> Path:
    """Return the folder of the model with this name or path (None: the shipped one). Raises `ModelError`."""
    if model is not None and (Path(model) / CONFIG_FILE).is_file():
        return Path(model)
    shipped = shipped_folder() / (model or SHIPPED)
    if "/" in (model or "") or not (shipped / CONFIG_FILE).is_file():
        known = ", ".join(sorted(p.parent.name for p in shipped_folder().glob(f"*/{CONFIG_FILE}"))) or "none"
        raise ModelError(f"no model {model or SHIPPED!r} (a folder with {CONFIG_FILE}); shipped: {known}")
    return shipped


def location(model: str | None) -> str:
    """Return where other processes find this model: its absolute folder, or the name of a shipped one.

    Raises `ModelError`.
    """
    folder = model_folder(model)
    return folder.name if folder.parent == shipped_folder() else str(folder.absolute())


def load_model(model: str | None = None, *, threads: int | None = None, device: str | None = None) -> RegionModel:
    """Return the model with this name or path, ready to use; None is the shipped one.

    `threads` sets torch's CPU threads of this process (None or 0: left alone); `device` is torch's (default `cpu`).
    Raises `ModelError` where files are missing, the hash or a shape differs, or preprocessing has changed.
    """
    if threads:
        torch.set_num_threads(threads)
    folder = model_folder(model)
    card = read_card(folder)
    verify_weights(folder, card)
    expected = preprocessing_hash(card.network.side)
    if card.preprocessing_hash != expected:
        raise ModelError(f"{folder}: made for preprocessing {card.preprocessing_hash}, this program has {expected}")
    network, acceptance = _network(folder, card)
    return RegionModel(network, card.info, acceptance, device=device or "cpu", min_presence=card.min_presence)


def read_card(folder: Path) -> ModelCard:
    """Return what `config.json` in `folder` says. Raises `ModelError` that names what is missing or wrong."""
    file = folder / CONFIG_FILE
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if values["format"] != FORMAT:
            raise ModelError(f"{file}: format {values['format']!r}, this program reads {FORMAT}")
        return ModelCard(
            name=str(values["name"]),
            version=str(values["version"]),
            weights_sha256=str(values["weights_sha256"]),
            preprocessing_hash=str(values["preprocessing_hash"]),
            network=NetworkConfig(**{"look_margin": 0, **values["network"]}),  # of before there was one
            anatomies=tuple(anatomy_by_name(n) for n in values["anatomies"]),
            min_presence=float(values["min_presence"]),
            accept_far=float(values["accept_far"]),
            accept_threshold=float(values["accept_threshold"]),
            training=dict(values["training"]),
            metrics=dict(values["metrics"]),
        )
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror}") from None
    except KeyError as error:
        raise ModelError(f"{file} lacks {error}") from None
    except (ValueError, TypeError, UnknownAnatomy) as error:
        raise ModelError(f"{file}: {error}") from None


def verify_weights(folder: Path, card: ModelCard) -> None:
    """Raise `ModelError` where the weights are missing or are not those that `card` was written for."""
    file = folder / WEIGHTS_FILE
    try:
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror}") from None
    if found != card.weights_sha256:
        raise ModelError(f"{file}: SHA-256 is {found}, {CONFIG_FILE} says {card.weights_sha256}")


def _network(folder: Path, card: ModelCard) -> tuple[RegionNetwork, Acceptance]:
    file = folder / WEIGHTS_FILE
    try:
        with safe_open(file, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file} is no safetensors file: {error}") from None
    with torch.device("meta"):
        network = RegionNetwork(card.network)
    expected = {name: tuple(t.shape) for name, t in network.state_dict().items()}
    width = expected["detector.shift.weight"][1]
    expected |= {f"{_ACCEPTANCE}mean": (width,), f"{_ACCEPTANCE}whitening": (width, width)}
    _assert_shapes(file, expected, tensors)
    mean, whitening = (tensors.pop(f"{_ACCEPTANCE}{n}") for n in ("mean", "whitening"))
    network.load_state_dict(tensors, assign=True)
    network.requires_grad_(False)
    return network, Acceptance(mean, whitening, card.accept_far, card.accept_threshold)


def _assert_shapes(file: Path, expected: dict[str, tuple[int, ...]], found: dict[str, Tensor]) -> None:
    missing, surplus = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or surplus:
        raise ModelError(f"{file}: weights of another network; missing {missing[:3]}, surplus {surplus[:3]}")
    for name, shape in expected.items():
        if tuple(found[name].shape) != shape:
            raise ModelError(f"{file}: {name} has shape {tuple(found[name].shape)}, not {shape}")


def save_model(folder: Path, network: RegionNetwork, acceptance: Acceptance, card: ModelCard) -> ModelCard:
    """Write weights and `config.json` to `folder`; return `card` with the weights' hash."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: t.detach().cpu().contiguous() for name, t in network.state_dict().items()}
    tensors |= {f"{_ACCEPTANCE}mean": acceptance.mean.contiguous()}
    tensors |= {f"{_ACCEPTANCE}whitening": acceptance.whitening.contiguous()}
    save_file(tensors, folder / WEIGHTS_FILE)
    (folder / WEIGHTS_FILE).chmod(0o644)
    digest = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
    card = dataclasses.replace(card, weights_sha256=digest)
    write_card(folder, card)
    return card


def write_card(folder: Path, card: ModelCard) -> None:
    """Write `config.json` to `folder`."""
    values = {
        "format": FORMAT,
        "name": card.name,
        "version": card.version,
        "weights_sha256": card.weights_sha256,
        "preprocessing_hash": card.preprocessing_hash,
        "network": dataclasses.asdict(card.network),
        "anatomies": [a.name for a in card.anatomies],
        "min_presence": card.min_presence,
        "accept_far": card.accept_far,
        "accept_threshold": card.accept_threshold,
        "training": card.training,
        "metrics": card.metrics,
    }
    (folder / CONFIG_FILE).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
