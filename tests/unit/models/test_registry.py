"""Which models are loaded and which are refused."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.acceptance import Acceptance
from models.network import NetworkConfig, RegionNetwork
from models.preprocess import preprocessing_hash
from models.registry import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    ModelCard,
    listing,
    load_model,
    read_card,
    save_model,
    shipped_folder,
    write_card,
)
from regionmir.core.anatomy import anatomies
from regionmir.core.errors import ModelError

CONFIG = NetworkConfig(side=64, width=16, dim=24, anatomy_dim=8, finding_dim=8)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a small model with random weights."""
    folder = tmp_path_factory.mktemp("model")
    acceptance = Acceptance(torch.zeros(320), torch.eye(320), 2.0)
    chosen = anatomies()[:5]
    digest = preprocessing_hash(CONFIG.side)
    card = ModelCard("small", "1", "", digest, CONFIG, chosen, 0.5, 2.0, 0.5, {"films": 0}, {})
    save_model(folder, RegionNetwork(CONFIG), acceptance, card)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """Return a copy to be spoilt."""
    return Path(shutil.copytree(made, tmp_path / "model"))


def test_a_saved_model_loads_with_its_identity(made: Path) -> None:
    model = load_model(str(made))
    assert (model.info.name, model.info.version, model.info.dim) == ("small", "1", 24)
    assert model.info.anatomies == anatomies()[:5]
    assert model.info.weights_sha256 == read_card(made).weights_sha256


def test_a_model_from_before_edges_were_left_out_still_sees_all_of_a_region(folder: Path) -> None:
    assert load_model(str(folder)).network.embedder.look_margin == CONFIG.look_margin == 1
    file = folder / CONFIG_FILE
    said = json.loads(file.read_text())
    del said["network"]["look_margin"]
    file.write_text(json.dumps(said))
    assert load_model(str(folder)).network.embedder.look_margin == 0


def test_weights_with_another_hash_are_refused(folder: Path) -> None:
    file = folder / WEIGHTS_FILE
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ModelError, match="SHA-256 is"):
        load_model(str(folder))


def test_weights_of_another_shape_are_refused_even_with_the_right_hash(folder: Path) -> None:
    card = read_card(folder)
    write_card(folder, dataclasses.replace(card, network=dataclasses.replace(CONFIG, anatomy_dim=4)))
    with pytest.raises(ModelError, match="has shape"):
        load_model(str(folder))


def test_missing_and_surplus_weights_are_named(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS_FILE)
    tensors["detector.shift.other"] = tensors.pop("detector.shift.bias")
    save_file(tensors, folder / WEIGHTS_FILE)
    import hashlib

    digest = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
    write_card(folder, dataclasses.replace(read_card(folder), weights_sha256=digest))
    with pytest.raises(ModelError, match=r"missing \['detector.shift.bias'\], surplus \['detector.shift.other'\]"):
        load_model(str(folder))


def test_a_model_made_for_other_preprocessing_is_refused(folder: Path) -> None:
    write_card(folder, dataclasses.replace(read_card(folder), preprocessing_hash="0123"))
    with pytest.raises(ModelError, match="preprocessing 0123"):
        load_model(str(folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "format 99"),
        ({"anatomies": ["left wing"]}, "unknown anatomy"),
        ({"network": {"wheels": 4}}, "wheels"),
        ({"min_presence": "much"}, "much"),
    ],
)
def test_a_wrong_config_is_refused_with_its_fault(folder: Path, change: dict[str, object], message: str) -> None:
    file = folder / CONFIG_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ModelError, match=message):
        load_model(str(folder))


def test_missing_files_are_refused(folder: Path) -> None:
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors cannot be read"):
        load_model(str(folder))
    with pytest.raises(ModelError, match="no model 'nowhere'"):
        load_model("nowhere")


def test_the_listing_tells_a_spoilt_model_from_an_intact_one(made: Path, folder: Path) -> None:
    (folder / WEIGHTS_FILE).write_bytes(b"spoilt")
    assert [type(card) for _, card in listing(folder.parent)] == [ModelError]
    assert [type(card) for _, card in listing(made.parent)][-1] is ModelCard


def test_every_shipped_model_is_intact_and_small_enough() -> None:
    found = listing()
    assert found
    for path, card in found:
        assert isinstance(card, ModelCard), card
        assert (path / WEIGHTS_FILE).stat().st_size <= 25_000_000
    assert (shipped_folder().parent / "cards").is_dir()
