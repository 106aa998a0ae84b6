"""Training on a handful of drawn films: views, losses, resuming, and a model at the end."""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.data.folder import read_folder
from models.data.tensors import FilmTensors, load_films
from models.network import NetworkConfig
from models.registry import load_model, read_card
from models.train.augment import random_views
from models.train.config import TrainConfig, config_names, parse_config, read_config
from models.train.contrast import Regions, within_anatomy_losses
from models.train.loop import Progress, Run, save_checkpoint, train_run
from models.train.losses import giou, likeness
from models.train.negatives import MAKERS, negatives
from models.train.run import Listener, train
from regionmir.core.errors import ConfigurationError, ModelError

SMALL = TrainConfig(
    name="small",
    description="",
    minutes=5,
    steps=2,
    threads=0,
    imagenet=False,
    bf16=False,
    films_per_step=3,
    negatives_per_step=1,
    network=NetworkConfig(side=64, width=16, dim=24, anatomy_dim=8, finding_dim=8),
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Let these small networks run in one thread: several only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of six drawn films of three patients' findings, in the format of the reader."""
    root = tmp_path_factory.mktemp("films")
    images = ["image,width,height,source,patient,finding,age_group,split"]
    regions = ["image,anatomy,x0,y0,x1,y1,origin"]
    rng = np.random.default_rng(0)
    for i in range(6):
        pixels = (rng.random((60, 80)) * 255).astype(np.uint8)
        Image.fromarray(pixels).save(root / f"{i}.png")
        finding = ("normal", "viral pneumonia", "")[i % 3]
        images.append(
            f"{i}.png,80,60,drawn,p{i},{finding},{'adult' if i % 2 else 'child'},{'val' if i == 5 else 'train'}"
        )
        regions += [f"{i}.png,left lung,40,10,75,50,mask", f"{i}.png,right lung,5,10,38,50,mask"]
    (root / "images.csv").write_text("\n".join(images) + "\n")
    (root / "regions.csv").write_text("\n".join(regions) + "\n")
    return root


@pytest.fixture(scope="module")
def films(folder: Path) -> FilmTensors:
    return load_films([f for f in read_folder(folder) if f.split == "train"], 64)


def ignore(*_: object) -> None:
    """Take any news."""


def test_a_run_ends_with_a_model_that_loads(folder: Path, tmp_path: Path) -> None:
    card = train(SMALL, folder, tmp_path / "out", Listener(ignore, ignore, ignore))
    assert [a.short for a in card.anatomies] == ["RL", "LL"]
    assert card.training["steps"] == 2
    assert load_model(str(tmp_path / "out")).info == read_card(tmp_path / "out").info


def test_a_resumed_run_takes_the_same_steps_as_one_that_never_stopped(films: FilmTensors, tmp_path: Path) -> None:
    whole, half, resumed = (Run(SMALL, films, None) for _ in range(3))
    whole.advance()
    whole.advance()
    half.advance()
    save_checkpoint(half, tmp_path / "checkpoint.pt")
    resumed.resume(tmp_path / "checkpoint.pt")
    resumed.advance()
    assert resumed.step == whole.step == 2
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, resumed.network.state_dict()[name]), name


def test_a_checkpoint_of_other_films_or_no_checkpoint_is_refused(films: FilmTensors, tmp_path: Path) -> None:
    run = Run(SMALL, films, None)
    save_checkpoint(run, tmp_path / "checkpoint.pt")
    with pytest.raises(ModelError, match="another configuration"):
        Run(dataclasses.replace(SMALL, seed=8), films, None).resume(tmp_path / "checkpoint.pt")
    with pytest.raises(ModelError, match="no checkpoint"):
        run.resume(tmp_path / "nothing.pt")


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_films(films: FilmTensors) -> None:
    run = Run(SMALL, films, None)
    with torch.no_grad():
        run.network.detector.heat.bias.fill_(math.nan)
    with pytest.raises(ModelError, match=r"step 0: the loss is not finite; films: \d.png"):
        run.advance()


def test_progress_is_reported_with_finite_losses(films: FilmTensors) -> None:
    seen: list[Progress] = []
    train_run(Run(dataclasses.replace(SMALL, steps=1), films, None), None, seen.append)
    assert seen[-1].share == 1
    assert all(math.isfinite(v) for v in seen[-1].losses.values())


def test_shipped_configurations_read_and_wrong_ones_are_named() -> None:
    assert {"cpu-20min", "cpu-3min"} <= set(config_names())
    assert all(read_config(name).name == name for name in config_names())
    with pytest.raises(ConfigurationError, match="known: cpu-20min"):
        read_config("gpu-forever")
    with pytest.raises(ValueError, match="unknown setting 'wheels'"):
        parse_config({"name": "x", "description": "", "minutes": 1, "wheels": 4})
    with pytest.raises(ValueError, match="minutes is 'soon'"):
        parse_config({"name": "x", "description": "", "minutes": "soon"})


def test_boxes_follow_a_bright_rectangle_through_random_views() -> None:
    images = torch.zeros(12, 96, 96, dtype=torch.uint8)
    images[:, 30:62, 24:70] = 255
    boxes, known = torch.zeros(12, 29, 4), torch.zeros(12, 29, dtype=torch.bool)
    boxes[:, 3], known[:, 3] = torch.tensor([24.0, 30, 70, 62]), True
    views = random_views(images, boxes, known, torch.Generator().manual_seed(2))
    assert bool(views.known[:, 3].all())
    inside = 0
    for image, box in zip(views.images[:, 0], views.boxes[:, 3].round().long().tolist(), strict=True):
        inside += int(image[box[1] : box[3], box[0] : box[2]].mean() > image.mean() + 0.2)
    assert inside == len(images)


def test_a_box_that_left_the_view_is_absent_and_never_known() -> None:
    images = torch.zeros(40, 64, 64, dtype=torch.uint8)
    boxes, known = torch.zeros(40, 29, 4), torch.zeros(40, 29, dtype=torch.bool)
    boxes[:, 0], known[:, 0] = torch.tensor([0.0, 0, 3, 3]), True
    views = random_views(images, boxes, known, torch.Generator().manual_seed(0))
    assert bool(views.absent[:, 0].any())
    assert not bool((views.absent & views.known).any())
    assert not bool(views.known[:, 1:].any())


@pytest.mark.parametrize("maker", dict.fromkeys(MAKERS), ids=lambda m: m.__name__)
def test_every_generator_makes_a_finite_image_of_the_same_size(maker: object) -> None:
    rng = torch.Generator().manual_seed(0)
    film = torch.rand(64, 64, generator=rng)
    image = maker(film, rng)  # type: ignore[operator]
    assert image.shape == film.shape
    assert bool(torch.isfinite(image).all())


def test_negatives_lie_between_black_and_white() -> None:
    rng = torch.Generator().manual_seed(0)
    made = negatives(torch.randint(0, 255, (20, 64, 64), dtype=torch.uint8, generator=rng), rng)
    assert made.shape == (20, 1, 64, 64)
    assert 0 <= float(made.min()) <= float(made.max()) <= 1


def test_giou_of_known_boxes() -> None:
    a = torch.tensor([0.0, 0, 2, 2])
    assert float(giou(a, a)) == pytest.approx(1)
    assert float(giou(a, torch.tensor([1.0, 0, 3, 2]))) == pytest.approx(1 / 3)
    assert float(giou(a, torch.tensor([2.0, 2, 4, 4]))) == pytest.approx(-0.5)


def test_findings_overlap_fully_partly_or_not_and_unknown_is_like_nothing() -> None:
    pneumonia = torch.tensor([True, False, True])
    findings = torch.tensor([0, 1, 2, -1])
    expected = torch.tensor([[1, 0, 0.3, 0], [0, 1, 0, 0], [0.3, 0, 1, 0], [0, 0, 0, 0]])
    torch.testing.assert_close(likeness(findings, findings, pneumonia), expected)


def test_regions_that_are_unknown_move_no_loss() -> None:
    rng = torch.Generator().manual_seed(0)
    appearance = torch.nn.functional.normalize(torch.randn(2, 4, 8, generator=rng), dim=-1)
    known = torch.tensor([[True] * 4, [True, True, True, False]])
    meta = (torch.tensor([0, 0, 1, 2]), torch.tensor([0, 0, 1, 2]), torch.tensor([0, 0, 0, 1]))
    before = within_anatomy_losses(
        Regions(appearance, appearance, known, *meta), None, torch.tensor([False, True]), 0.1
    )
    moved = appearance.clone()
    moved[1, 3] = -moved[1, 3]
    after = within_anatomy_losses(Regions(moved, moved, known, *meta), None, torch.tensor([False, True]), 0.1)
    assert before.keys() == after.keys() == {"finding_contrast", "same_region", "spread"}
    for name in before:
        assert float(before[name]) == float(after[name])
        assert math.isfinite(float(before[name]))
