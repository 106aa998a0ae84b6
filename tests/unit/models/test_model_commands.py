"""`regionmir model` from a user's side: exit codes, one clear line on a fault, a table and JSON on success."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from models.acceptance import Acceptance
from models.network import NetworkConfig, RegionNetwork
from models.preprocess import preprocessing_hash
from models.registry import ModelCard, save_model
from regionmir.admin.model_commands import app
from regionmir.admin.model_negatives import negatives
from regionmir.core.anatomy import anatomies

CONFIG = NetworkConfig(side=64, width=16, dim=24, anatomy_dim=8, finding_dim=8)
FINDINGS = ("normal", "viral pneumonia", "bacterial pneumonia", "")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a small model with random weights that finds something everywhere."""
    torch.manual_seed(0)
    network = RegionNetwork(CONFIG)
    network.detector.witness[-1] = 5.0
    acceptance = Acceptance(torch.zeros(320), torch.eye(320) * 1e-3, 2.0)
    digest = preprocessing_hash(CONFIG.side)
    card = ModelCard("small", "1", "", digest, CONFIG, anatomies()[:9], 0.5, 2.0, 0.5, {"films": 0}, {})
    folder = tmp_path_factory.mktemp("models") / "small"
    save_model(folder, network, acceptance, card)
    return folder


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of films of noise: twelve to search, four that ask."""
    root = tmp_path_factory.mktemp("films")
    images = ["image,width,height,source,patient,finding,age_group,split"]
    regions = ["image,anatomy,x0,y0,x1,y1,origin"]
    rng = np.random.default_rng(0)
    for i in range(16):
        Image.fromarray((rng.random((60, 80)) * 255).astype(np.uint8)).save(root / f"{i}.png")
        images.append(f"{i}.png,80,60,drawn,p{i},{FINDINGS[i % 4]},child,{'val' if i >= 12 else 'train'}")
        regions += [f"{i}.png,left lung,40,10,75,50,mask", f"{i}.png,right lung,5,10,38,50,mask"]
    (root / "images.csv").write_text("\n".join(images) + "\n")
    (root / "regions.csv").write_text("\n".join(regions) + "\n")
    return root


def run(*arguments: str | Path) -> tuple[int, str]:
    """Return exit code and everything printed."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.output


def test_an_evaluation_prints_tables_and_writes_every_figure(model: Path, films: Path, tmp_path: Path) -> None:
    out, dump, report = (tmp_path / name for name in ("out.json", "out.npz", "report"))
    ask = ("evaluate", "--model", model, "--database", films, "--queries", films, "--no-ann", "--no-download")
    more = ("--json", out, "--dump", dump, "--report", report, "--group-by", "source, age_group")
    code, text = run(*ask, *more)
    assert code == 0, text
    assert "mean IoU" in text
    assert dump.is_file()
    assert "## Boxes" in (report / "report.md").read_text()
    found = json.loads(out.read_text())
    assert found["detector"]["mean_iou"].keys() == {"value", "low", "high", "n"}
    assert found["detector"]["mean_iou"]["n"] == 8
    assert found["retrieval"]["within_anatomy_finding"]["p_at_5"]["n"] == 6
    assert {"left lung", "right lung"} == found["retrieval"]["within_anatomy_finding"]["per_anatomy"].keys()
    assert found["controls"]["box_only"]["p_at_5"]["n"] == 6
    assert found["rejection"].keys() == {"auroc", "false_accept_rate", "film_accept_rate", "negatives"}
    assert found["notes"] == {"rejection": "no download was wanted", "ann": "not wanted"}
    assert found["by_group"].keys() == {"drawn", "child"}


def test_a_column_that_nobody_can_group_by_is_one_clear_line(model: Path, films: Path) -> None:
    ask = ("evaluate", "--model", model, "--database", films, "--queries", films, "--no-ann", "--no-download")
    code, text = run(*ask, "--group-by", "patient")
    assert code == 1
    assert "--group-by: cannot group by 'patient'; known: source, age_group, origin, finding" in text


def test_images_to_be_refused_come_from_the_folder_that_is_named(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((20, 20), dtype=np.uint8)).save(tmp_path / "black.png")
    refused, nothing = negatives(tmp_path, download=True), negatives(None, download=False)
    assert refused[0] is not None
    assert (len(refused[0].images), refused[1]) == (1, "")
    assert nothing == (None, "no download was wanted")


def test_the_splits_that_are_asked_for_must_exist(model: Path, films: Path) -> None:
    ask = ("evaluate", "--model", model, "--database", films, "--queries", films, "--no-ann", "--no-download")
    code, text = run(*ask, "--query-split", "test")
    assert code == 1
    assert "split 'test' has no films; splits here: train, val" in text


def test_an_unknown_configuration_is_one_clear_line(films: Path, tmp_path: Path) -> None:
    code, text = run("train", "--config", "nothing", "--data", films, "--out", tmp_path)
    assert code == 1
    assert "no training configuration 'nothing'; known: cpu-3min" in text


def test_a_spoilt_model_is_shown_and_makes_the_listing_fail(model: Path, tmp_path: Path) -> None:
    code, text = run("list", model.parent)
    assert code == 0
    assert "intact" in text
    spoilt = tmp_path / "spoilt"
    spoilt.mkdir()
    (spoilt / "config.json").write_text((model / "config.json").read_text())
    (spoilt / "model.safetensors").write_bytes(b"spoilt")
    code, text = run("list", tmp_path)
    assert code == 1
    assert "SHA-256" in text


def test_a_model_is_shown_with_its_anatomies(model: Path) -> None:
    code, text = run("show", model)
    assert code == 0
    assert "costophrenic" in text
    assert run("show", "nowhere")[0] == 1


def test_training_reports_and_says_how_to_judge(films: Path, tmp_path: Path) -> None:
    network = "\n".join(f"{k} = {v}" for k, v in dataclasses.asdict(CONFIG).items())
    settings = 'name = "tiny"\ndescription = ""\nminutes = 5.0\nsteps = 1\nimagenet = false\nfilms_per_step = 2\n'
    where = 'threads = 1\nbf16 = false\ndevice = "cpu"\n'
    (tmp_path / "tiny.toml").write_text(f"{settings}{where}[network]\n{network}\n")
    code, text = run("train", "--config", tmp_path / "tiny.toml", "--data", films, "--out", tmp_path / "out")
    assert code == 0, text
    assert "step 1" in text
    assert "validation iou" in text
    assert "model tiny" in text
    assert "regionmir model evaluate --model" in text
    assert (tmp_path / "out" / "report.md").is_file()
    assert (tmp_path / "out" / "model.safetensors").is_file()
