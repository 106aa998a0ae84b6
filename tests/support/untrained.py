"""A model folder with random weights: everything real but what it finds. For tests of what surrounds a model."""

from pathlib import Path

import torch

from models.acceptance import Acceptance
from models.network import NetworkConfig, RegionNetwork
from models.preprocess import preprocessing_hash
from models.registry import ModelCard, save_model
from regionmir.core.anatomy import anatomies


def save_untrained(folder: Path, dim: int = 128) -> Path:
    """Write an untrained model with vectors of length `dim` to `folder` and return it."""
    torch.manual_seed(0)
    config = NetworkConfig(side=128, dim=dim)
    network = RegionNetwork(config)
    width = network.state_dict()["detector.shift.weight"].shape[1]
    acceptance = Acceptance(torch.zeros(width), torch.eye(width), far=1e6, threshold=0.0)
    card = ModelCard(
        name="untrained",
        version="0",
        weights_sha256="",
        preprocessing_hash=preprocessing_hash(config.side),
        network=config,
        anatomies=anatomies()[:20],
        min_presence=0.0,
        accept_far=acceptance.far,
        accept_threshold=acceptance.threshold,
        training={},
        metrics={},
    )
    save_model(folder, network, acceptance, card)
    return folder
