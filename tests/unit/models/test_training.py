"""Training on a handful of drawn films: views, losses, resuming, and a model at the end."""

import dataclasses
import math
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from models.data.dataset import read_split
from models.data.tensors import FilmTensors, load_films
from models.registry import load_model, read_card
from models.train.augment import MASK_CELLS, Shown, random_views
from models.train.config import config_names, parse_config, read_config
from models.train.contrast import Regions, within_anatomy_losses
from models.train.loop import Progress, Run, save_checkpoint, train_run
from models.train.losses import giou, likeness, magnitude_loss
from models.train.negatives import MAKERS, negatives
from models.train.run import Listener, recalibrate, train
from models.train.validate import Validation
from regionmir.core.errors import ConfigurationError, ModelError
from tests.support.drawn import SMALL, drawn_folder

SIDE = 64


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Let these small networks run in one thread: several only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of six drawn films, one of them to validate on."""
    return drawn_folder(tmp_path_factory.mktemp("films"))


@pytest.fixture(scope="module")
def films(folder: Path) -> FilmTensors:
    return load_films(read_split(folder, "train"), SIDE)


def ignore(*_: object) -> None:
    """Take any news."""


def same_weights(a: Run, b: Run) -> bool:
    """Return whether two runs have the same weights and the same running averages, to the last bit."""
    pairs = [(a.network, b.network), (a.average, b.average), (a.heads, b.heads)]
    tensors = [(x.state_dict(), y.state_dict()) for x, y in pairs]
    return all(torch.equal(x[name], y[name]) for x, y in tensors for name in x)


def test_a_run_ends_with_a_model_that_loads_and_a_report(folder: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    config = dataclasses.replace(SMALL, validate_minutes=60)
    out = tmp_path / "out"
    card = train(config, folder, out, Listener(ignore, seen.append, ignore, ignore))
    assert card is not None
    assert [a.short for a in card.anatomies] == ["RL", "LL"]
    assert card.training["steps"] == 2
    assert load_model(str(out)).info == read_card(out).info
    assert seen[-1].validation.keys() == {"iou", "loss"}
    report = (out / "report.md").read_text()
    assert "| 0-10 % | 1 |" in report
    assert "| 50-60 % | 1 |" in report
    assert f"| 100 % | 2 | {seen[-1].validation['iou']:.3f} |" in report
    assert "| films_per_step | 3 |" in report
    assert f"regionmir model evaluate --model {out} --database {folder}" in report


def test_a_model_that_is_calibrated_again_follows_the_rules_of_today(folder: Path, tmp_path: Path) -> None:
    then = dataclasses.replace(SMALL, network=dataclasses.replace(SMALL.network, look_margin=0, finding_share=0.1))
    told = Listener(ignore, ignore, ignore, ignore)
    before = train(then, folder, tmp_path / "then", told)
    assert before is not None
    assert before.network.look_margin == 0

    card = recalibrate(str(tmp_path / "then"), folder, tmp_path / "now", told)

    assert (card.network.look_margin, card.network.finding_share) == (1, 0.2)
    assert card.training["calibrated_again"] == card.version
    now = load_model(str(tmp_path / "now"))
    assert now.network.embedder.look_margin == 1
    assert now.info.weights_sha256 == card.weights_sha256 != before.weights_sha256


def test_two_runs_of_one_seed_have_the_same_weights(films: FilmTensors) -> None:
    runs = [Run(config, films, None) for config in (SMALL, SMALL, dataclasses.replace(SMALL, seed=8))]
    for run in runs:
        run.advance()
        run.advance()
    assert same_weights(runs[0], runs[1])
    assert not same_weights(runs[0], runs[2])


def test_a_resumed_run_takes_the_same_steps_as_one_that_never_stopped(films: FilmTensors, tmp_path: Path) -> None:
    whole, half, resumed = (Run(SMALL, films, None) for _ in range(3))
    whole.advance()
    whole.advance()
    half.advance()
    save_checkpoint(half, tmp_path / "checkpoint.pt")
    resumed.resume(tmp_path / "checkpoint.pt")
    resumed.advance()
    assert resumed.step == whole.step == 2
    assert same_weights(whole, resumed)
    assert (resumed.running, resumed.curve) == (whole.running, whole.curve)


def test_validation_leaves_the_training_as_it_would_be_without(folder: Path, films: FilmTensors) -> None:
    validate = Validation(read_split(folder, "val"), films, SIDE)
    plain, validated = Run(SMALL, films, None), Run(dataclasses.replace(SMALL, validate_minutes=1e-9), films, None)
    train_run(plain, None, ignore)
    train_run(validated, None, ignore, validate)
    assert [v["step"] for v in validated.validations] == [1, 2]
    assert 0 <= validated.validations[-1]["iou"] <= 1
    assert math.isfinite(validated.validations[-1]["loss"])
    assert same_weights(plain, validated)
    assert validate(plain) == validate(validated)


def test_the_time_of_validation_does_not_count(films: FilmTensors) -> None:
    def slow(_run: Run) -> dict[str, float]:
        time.sleep(0.5)
        return {"iou": 0.0, "loss": 0.0}

    run = Run(dataclasses.replace(SMALL, validate_minutes=1e-9), films, None)
    started = time.monotonic()
    train_run(run, None, ignore, slow)
    assert run.elapsed_s < time.monotonic() - started - 0.4


def test_an_untrained_run_takes_no_step(films: FilmTensors) -> None:
    run, fresh = (Run(dataclasses.replace(SMALL, untrained=True), films, None) for _ in range(2))
    train_run(run, None, ignore)
    assert run.step == 0
    assert same_weights(run, fresh)


def test_a_device_that_is_not_there_is_named(films: FilmTensors) -> None:
    with pytest.raises(ConfigurationError, match="'abacus'"):
        Run(dataclasses.replace(SMALL, device="abacus"), films, None)
    if not torch.cuda.is_available():
        with pytest.raises(ConfigurationError, match="sees no GPU"):
            Run(dataclasses.replace(SMALL, device="cuda"), films, None)


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
    with pytest.raises(ModelError, match=r"step 0: the loss is not finite; films: images/\d.png"):
        run.advance()


def test_progress_is_reported_with_finite_losses(films: FilmTensors) -> None:
    seen: list[Progress] = []
    train_run(Run(dataclasses.replace(SMALL, steps=1), films, None), None, seen.append)
    assert seen[-1].share == 1
    assert all(math.isfinite(v) for v in seen[-1].losses.values())


def test_shipped_configurations_read_and_wrong_ones_are_named() -> None:
    assert {"cpu-60min", "cpu-3min", "gpu-10min", "imagenome"} == set(config_names())
    assert all(read_config(name).name == name for name in config_names())
    with pytest.raises(ConfigurationError, match="known: cpu-3min"):
        read_config("gpu-forever")
    with pytest.raises(ValueError, match="unknown setting 'wheels'"):
        parse_config({"name": "x", "description": "", "minutes": 1, "wheels": 4})
    with pytest.raises(ValueError, match="no loss is called 'bocks'"):
        parse_config({"name": "x", "description": "", "minutes": 1, "weights": {"bocks": 2.0}})
    with pytest.raises(ValueError, match="minutes is 'soon'"):
        parse_config({"name": "x", "description": "", "minutes": "soon"})


def blank_films(count: int, side: int, slot: int, box: tuple[float, float, float, float]) -> Shown:
    """Return black films of which the region `slot` is known, and masked as heart where `box` is."""
    boxes, known = torch.zeros(count, 29, 4), torch.zeros(count, 29, dtype=torch.bool)
    boxes[:, slot], known[:, slot] = torch.tensor(box), True
    masks = torch.zeros(count, side // 2, side // 2, dtype=torch.uint8)
    x0, y0, x1, y1 = (round(v / 2) for v in box)
    masks[:, y0:y1, x0:x1] = 3
    masked = torch.tensor([[False, False, True]]).repeat(count, 1)
    return Shown(torch.zeros(count, side, side, dtype=torch.uint8), boxes, known, masks, masked)


def test_masks_move_with_the_boxes() -> None:
    views = random_views(blank_films(12, 96, 3, (24, 30, 70, 62)), torch.Generator().manual_seed(2))
    assert views.masks.shape == (12, 3, 24, 24)
    assert float(views.masks[:, :2].max()) == 0
    for mask, box in zip(views.masks[:, 2], views.boxes[:, 3], strict=True):
        rows, columns = (mask > 0.5).nonzero().unbind(-1)
        hull = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) * MASK_CELLS
        assert float((hull - box).abs().max()) < 2 * MASK_CELLS + 1


def test_boxes_follow_a_bright_rectangle_through_random_views() -> None:
    films = blank_films(12, 96, 3, (24, 30, 70, 62))
    films.images[:, 30:62, 24:70] = 255
    views = random_views(films, torch.Generator().manual_seed(2))
    assert bool(views.known[:, 3].all())
    inside = 0
    for image, box in zip(views.images[:, 0], views.boxes[:, 3].round().long().tolist(), strict=True):
        inside += int(image[box[1] : box[3], box[0] : box[2]].mean() > image.mean() + 0.2)
    assert inside == len(views.images)


def test_a_view_of_a_part_shows_an_end_of_the_film_and_knows_no_box_out_of_view() -> None:
    films = blank_films(60, 96, 3, (0, 40, 20, 56))
    films.images[:, 40:56, 0:20] = 255
    views = random_views(films, torch.Generator().manual_seed(2), strength=0.0, parts=1.0)
    gone = views.boxes[:, 3, 2] <= views.boxes[:, 3, 0]  # cut at the border, nothing is left of it
    assert not bool((gone & views.known[:, 3]).any())
    assert 5 < int(gone.sum()) < 30  # the right end in a quarter of the views
    assert float(views.masks[gone, 2].max()) == 0
    kept = views.known[:, 3]
    for image, box in zip(views.images[kept, 0], views.boxes[kept, 3].round().long().tolist(), strict=True):
        assert float(image[box[1] : box[3], box[0] : box[2]].mean()) > 0.5


def test_a_box_that_left_the_view_is_not_known() -> None:
    views = random_views(blank_films(40, 64, 0, (0, 0, 3, 3)), torch.Generator().manual_seed(0))
    assert 0 < int(views.known[:, 0].sum()) < 40
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
    expected = torch.tensor([[1, 0, 0.1, 0], [0, 1, 0, 0], [0.1, 0, 1, 0], [0, 0, 0, 0]])
    torch.testing.assert_close(likeness(findings, findings, pneumonia), expected)


def test_regions_that_are_unknown_move_no_loss() -> None:
    rng = torch.Generator().manual_seed(0)
    appearance = torch.nn.functional.normalize(torch.randn(2, 4, 8, generator=rng), dim=-1)
    known = torch.tensor([[True] * 4, [True, True, True, False]])
    meta = (torch.tensor([0, 0, 1, 2]), torch.tensor([0, 0, 1, 2]), torch.tensor([0, 0, 0, 1]))
    pneumonia = torch.tensor([False, True])
    before = within_anatomy_losses(Regions(appearance, appearance, known, *meta), pneumonia, 0.1)
    moved = appearance.clone()
    moved[1, 3] = -moved[1, 3]
    after = within_anatomy_losses(Regions(moved, moved, known, *meta), pneumonia, 0.1)
    assert before.keys() == after.keys() == {"finding_contrast", "alignment", "same_region", "spread"}
    for name in before:
        assert float(before[name]) == float(after[name])
        assert math.isfinite(float(before[name]))


def test_the_magnitude_counts_known_regions_alone() -> None:
    uncentred = torch.full((2, 3, 4), 2.0)
    known = torch.zeros(2, 3, dtype=torch.bool)
    known[0, 1] = True
    uncentred[0, 1] = 3.0
    assert float(magnitude_loss(uncentred, known)) == 9.0
