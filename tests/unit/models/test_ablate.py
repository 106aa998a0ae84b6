"""The ablation: every variant trained on drawn films, results that are kept, and the table."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from models.ablate.described import by_boxes, describe
from models.ablate.rows import BOX_ONLY, ROWS
from models.ablate.run import ablate
from models.ablate.table import write_table
from models.data.dataset import read_split
from models.data.tensors import load_films
from models.network import RegionNetwork
from models.train.config import TrainConfig, read_config
from models.train.crop import CropNetwork, crops_of
from regionmir.core.errors import ConfigurationError
from tests.support.drawn import SMALL, TINY, drawn_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return twelve drawn films to search and six that ask."""
    return drawn_folder(tmp_path_factory.mktemp("films"), train=12, val=6)


def tiny(config: TrainConfig) -> TrainConfig:
    """Return `config` with a network that runs in no time."""
    network = dataclasses.replace(
        TINY, anatomy_share=config.network.anatomy_share, finding_share=config.network.finding_share
    )
    kept = ("name", "description", "untrained", "anatomy_stage", "weights", "steps", "settle")
    crop = 32 if config.crop_px else 0
    return dataclasses.replace(SMALL, **{k: getattr(config, k) for k in kept}, network=network, crop_px=crop)


def test_every_variant_is_trained_once_and_stands_in_the_table(folder: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    torch.set_num_threads(1)
    table = ablate(folder, tmp_path, [1], notes.append, steps=1, adapt=tiny).read_text()
    assert [n for n in notes if n.startswith("within-anatomy")] == ["within-anatomy, seed 1: 1 steps"]
    for row in (*ROWS, BOX_ONLY):
        (line,) = (line for line in table.splitlines() if line.startswith(f"| {row.title} |"))
        assert re.fullmatch(r"\| [^|]+(\| \d[.\d]+ ){3}\| (\d[.\d]+|-) \|", line), line
    notes.clear()
    assert ablate(folder, tmp_path, [1], notes.append, steps=1, adapt=tiny).read_text() == table
    assert notes == []


def test_an_ablation_needs_films_that_ask(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no split `val`"):
        ablate(drawn_folder(tmp_path, val=0), tmp_path / "out", [1], print, adapt=tiny)


def test_variants_have_one_budget_and_differ_from_what_ships_only_where_they_say() -> None:
    shipped = read_config("cpu-60min")
    for row in ROWS:
        config = read_config(f"ablation/{row.config}")
        assert config.name == row.config
        assert config.steps == 150
        changed = {f.name for f in dataclasses.fields(config) if getattr(config, f.name) != getattr(shipped, f.name)}
        budget = {"name", "description", "minutes", "steps", "validate_minutes"}
        assert changed - budget <= {"imagenet", "untrained", "anatomy_stage", "network", "weights", "crop_px", "settle"}


def test_the_table_shows_mean_and_spread_over_seeds(tmp_path: Path) -> None:
    results = {"crop": [{"three": 0.6}, {"three": 0.7}, {"three": 0.8}], "box-only": [{"three_by_chance": 0.37}]}
    table = write_table(tmp_path / "t.md", results, "Twelve films.").read_text()
    assert "| within-anatomy contrast from crops instead of RoIAlign | 0.700 ± 0.100 | - | - | - |" in table
    assert "| prevalence | 0.370 | - | - | - |" in table


def test_films_are_described_at_their_true_boxes(folder: Path) -> None:
    films = load_films(read_split(folder, "val"), TINY.side)
    found = describe(RegionNetwork(TINY).eval(), films, torch.device("cpu"), bf16=False)
    lungs = found.told.found.nonzero()[1]
    assert sorted(set(lungs.tolist())) == [0, 8]
    np.testing.assert_allclose(found.told.boxes[0, 0], [5 / 80, 10 / 60, 38 / 80, 50 / 60], atol=1e-5)
    for vectors in (found.told.vectors, found.free.vectors):
        np.testing.assert_allclose(np.linalg.norm(vectors[:, [0, 8]], axis=-1), 1, atol=1e-5)


def test_box_only_vectors_are_nearest_to_the_same_box(folder: Path) -> None:
    films = load_films(read_split(folder, "val"), TINY.side)
    asked, base = by_boxes(films, asking=True).told.vectors, by_boxes(films, asking=False).told.vectors
    assert float(asked[0, 0] @ base[1, 0]) > float(asked[0, 0] @ base[1, 8])


def test_a_crop_is_the_box_stretched_to_a_square() -> None:
    image = torch.zeros(1, 1, 64, 64)
    image[..., :24, 16:48] = torch.linspace(0, 1, 32)
    crops = crops_of(image, torch.tensor([[[16.0, 4, 48, 20], [0.0, 30, 64, 60]]]), 32)
    torch.testing.assert_close(crops[0, 0], torch.linspace(0, 1, 32).expand(32, 32), atol=1e-5, rtol=0)
    assert float(crops[1].abs().max()) == 0


def test_a_region_described_from_a_crop_knows_nothing_of_the_rest_of_the_film() -> None:
    torch.manual_seed(0)
    network = CropNetwork(TINY, 32).eval()
    film, boxes = torch.rand(1, 1, 64, 64), torch.tensor([[[8.0, 8, 40, 40]]])
    other = film.clone()
    other[..., 44:] = 0
    with torch.no_grad():
        first, second = (network.embed(network.features(f), boxes, torch.tensor([0])).vector for f in (film, other))
    torch.testing.assert_close(first, second)
    assert set(network.state_dict()) == set(RegionNetwork(TINY).state_dict())
