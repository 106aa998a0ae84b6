"""What a training run is told, read from a TOML file in `models/train/configs` or anywhere."""

import dataclasses
import tomllib
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from models.network import NetworkConfig
from models.train.losses import WEIGHTS
from regionmir.core.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """One run. Shares and weights are fractions; `minutes` is wall-clock time of the loop."""

    name: str
    description: str
    minutes: float
    network: NetworkConfig = field(default_factory=NetworkConfig)
    steps: int = 0
    """The run also ends after this many steps (0: no matter how many): a busy machine then takes longer, not less."""
    seed: int = 7
    threads: int = 2
    device: str = ""
    """torch's name, as `cpu` or `cuda`; "" takes a GPU where there is one."""
    bf16: bool = True
    """Compute features in bfloat16, on a CPU and on a GPU; the rest stays in float32."""
    imagenet: bool = True
    frozen_stages: int = 2
    """The backbone's stem and this many first stages keep their ImageNet weights."""
    films_per_step: int = 11
    """Each is shown twice, in two augmented views. Of each process, where `torchrun` starts several."""
    negatives_per_step: int = 3
    paste: float = 0.6
    """Chance that a film's second view keeps one region only and shows another patient's film, or black, around it."""
    parts: float = 0.1
    """Chance that a view shows a part of the film only."""
    calm: float = 0.5
    """The last share of the run, in which views come closer and closer to the film itself."""
    adults: float = 0.3
    """Share of adults' films among those drawn: they are few, and alone have a heart."""
    learning_rate: float = 2e-3
    backbone_rate: float = 0.25
    """The backbone's learning rate, as a share of `learning_rate`."""
    weight_decay: float = 0.05
    average: float = 0.995
    """Decay of the running average of the weights, which is what ships."""
    temperature: float = 0.1
    anatomy_stage: float = 0.4
    """Share of the time after which the classifiers (RegionMIR's second stage) join the contrastive losses."""
    checkpoint_minutes: float = 2.0
    validate_minutes: float = 10.0
    """How often figures on split `val` are computed; their time does not count as the run's. 0: never."""
    untrained: bool = False
    """Take no step at all: what random or ImageNet weights alone are worth."""
    settle: bool = True
    """At the end, learn what regions show and which anatomy they are once more (see `models.train.settle`)."""
    crop_px: int = 0
    """Describe each region from a crop of this side instead of the shared map (see `crop.CropNetwork`); 0: do not."""
    weights: dict[str, float] = field(default_factory=dict)
    """Weights of losses that differ from `models.train.losses.WEIGHTS`."""


def config_names() -> list[str]:
    """Return the names of the configurations that come with the program, those of ablations left out."""
    return sorted(p.name.removesuffix(".toml") for p in _folder().iterdir() if p.name.endswith(".toml"))


def read_config(name: str) -> TrainConfig:
    """Return the configuration called `name` (`cpu-60min`, `ablation/crop`), or in the TOML file `name`.

    Raises `ConfigurationError`.
    """
    own = _folder().joinpath(*f"{name}.toml".split("/"))
    if not Path(name).is_absolute() and own.is_file():
        text = own.read_text(encoding="utf-8")
    elif Path(name).is_file():
        text = Path(name).read_text(encoding="utf-8")
    else:
        raise ConfigurationError(f"no training configuration {name!r}; known: {', '.join(config_names())}")
    try:
        return parse_config(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, TypeError, ValueError) as error:
        raise ConfigurationError(f"training configuration {name}: {error}") from None


def parse_config(values: dict[str, Any]) -> TrainConfig:
    """Return `values` as a configuration. Raises `TypeError` or `ValueError` that names what is wrong."""
    values = dict(values)
    network = NetworkConfig(**_checked(NetworkConfig, values.pop("network", {})))
    unknown = sorted(values.get("weights", {}).keys() - WEIGHTS.keys())
    if unknown:
        raise ValueError(f"weights: no loss is called {unknown[0]!r}; known: {', '.join(WEIGHTS)}")
    return TrainConfig(network=network, **_checked(TrainConfig, values))


def _checked(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {f.name: f.type for f in dataclasses.fields(kind)}
    for name, value in values.items():
        if name not in fields:
            raise ValueError(f"unknown setting {name!r}")
        wanted = fields[name]
        right = {
            int: isinstance(value, int) and not isinstance(value, bool),
            float: isinstance(value, int | float) and not isinstance(value, bool),
            bool: isinstance(value, bool),
            str: isinstance(value, str),
        }.get(wanted, True)
        if not right:
            raise ValueError(f"{name} is {value!r}, not of type {getattr(wanted, '__name__', wanted)}")
    return values


def _folder() -> Any:
    return files("models.train") / "configs"
