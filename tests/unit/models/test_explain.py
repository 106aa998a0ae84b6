"""Why two regions are alike: maps over their cells."""

import numpy as np
import pytest
import torch

from models.acceptance import Acceptance
from models.explain import explain_pair
from models.network import NetworkConfig, RegionNetwork
from models.preprocess import preprocessing_hash
from models.region_model import RegionModel
from regionmir.core.anatomy import anatomy_by_short
from regionmir.core.geometry import Box
from regionmir.core.records import GenerationInfo

LUNG = anatomy_by_short("LL")
BOX = Box(8, 8, 56, 56)


@pytest.fixture(scope="module")
def model() -> RegionModel:
    torch.manual_seed(3)
    config = NetworkConfig(side=64, width=16, dim=24, anatomy_dim=8, finding_dim=8)
    network = RegionNetwork(config)
    acceptance = Acceptance(torch.zeros(320), torch.eye(320), 1.0)
    info = GenerationInfo("drawn", "1", "0" * 64, config.dim, preprocessing_hash(64), (LUNG,))
    return RegionModel(network, info, acceptance, bf16=False)


def film(seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(seed).random((64, 64)).astype(np.float32)


def test_the_similarity_of_a_pair_is_that_of_its_vectors(model: RegionModel) -> None:
    slot = torch.tensor([LUNG.key - 1])
    found = explain_pair(model, (film(1), BOX), (film(2), BOX), LUNG)
    vectors = []
    for seed in (1, 2):
        with torch.inference_mode():
            from models.preprocess import prepare

            features = model.network.features(prepare(film(seed), 64).values[None, None])
            vectors.append(model.network.embed(features, torch.tensor([[BOX.as_tuple()]]), slot).vector[0, 0])
    assert found.similarity == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-5)


def test_maps_have_one_value_per_cell_and_reach_one_at_their_strongest(model: RegionModel) -> None:
    found = explain_pair(model, (film(1), BOX), (film(2), BOX), LUNG)
    for cells in (found.query, found.hit):
        assert cells.shape == (7, 7)
        assert np.abs(cells).max() == pytest.approx(1)


def test_a_map_does_not_depend_on_what_lies_far_outside_the_box(model: RegionModel) -> None:
    small = Box(40, 40, 60, 60)
    changed = film(1)
    changed[:4, :4] = 0.5
    before, after = (explain_pair(model, (f, small), (film(2), small), LUNG) for f in (film(1), changed))
    assert before.similarity == pytest.approx(after.similarity, abs=0.05)
