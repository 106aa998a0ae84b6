"""The parts of an evaluation that ask a model: altered films, and figures that a known model must have."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from models.data.dataset import read_split
from models.evaluate.altered import alone, blanked, cells, pasted_inside, pasted_outside
from models.evaluate.analysed import LUNGS, analyse_films
from models.evaluate.controls import lung_controls
from models.evaluate.detection import presence_cases
from models.evaluate.dump import write_dump
from models.evaluate.figures import as_json
from models.evaluate.judging import Effort, chosen_rows, judge
from models.evaluate.locality import locality_cases
from models.evaluate.naming import crop_cases, named_at_boxes
from models.evaluate.rejection import Negatives
from models.evaluate.report import write_report
from models.evaluate.run import Evaluation, evaluate
from models.evaluate.summary import check_columns, figures, group_figures
from models.network import SLOTS
from models.region_model import Found, ImageAnalysis
from models.square import Letterbox

SIDE = 64
RIGHT, LEFT = (4.0, 8.0, 28.0, 56.0), (36.0, 8.0, 60.0, 56.0)
MEASURE = {"value", "low", "high", "n"}


class KnownModel:
    """Sees both lungs where they are drawn; a vector is the grey inside its box (or, `global_`, of the whole film)."""

    def __init__(self, *, global_: bool = False) -> None:
        self.side, self.device, self.min_presence = SIDE, "cpu", 0.5
        self.slots = torch.tensor(LUNGS)
        self.info = SimpleNamespace(name="known", version="1", weights_sha256="0" * 64, dim=3)
        self.acceptance = SimpleNamespace(threshold=0.5, score=lambda frontal, _pooled: float(frontal))
        self.network = SimpleNamespace(embedder=self)
        self.global_ = global_

    def describe(self, images: Tensor, boxes: Tensor, slots: Tensor | None = None) -> Any:
        vectors = torch.zeros(*boxes.shape[:2], 3)
        for b, image in enumerate(images[:, 0]):
            for r, box in enumerate(boxes[b]):
                part = image if self.global_ else image[cells(box.numpy(), SIDE)]
                angle = part.mean() * torch.pi / 2
                vectors[b, r] = torch.stack([angle.cos(), angle.sin(), torch.zeros(())])
        return SimpleNamespace(vector=vectors, anatomy=vectors)

    def classify(self, anatomy: Tensor) -> Tensor:
        """Name every box the right lung."""
        logits = torch.zeros(*anatomy.shape[:-1], SLOTS)
        logits[..., LUNGS[0]] = 1
        return logits

    def forward(self, batch: Tensor) -> Found:
        count = len(batch)
        boxes, presence = torch.zeros(count, SLOTS, 4), torch.zeros(count, SLOTS)
        boxes[:, LUNGS] = torch.tensor([RIGHT, LEFT])
        presence[:, LUNGS] = 1
        vectors = torch.zeros(count, SLOTS, 3)
        vectors[:, LUNGS] = self.describe(batch, boxes[:, LUNGS]).vector
        return Found(boxes, torch.zeros_like(boxes), presence, torch.ones(count), torch.zeros(count, 1), vectors)

    def analyse(self, images: Any) -> list[ImageAnalysis]:
        return [ImageAnalysis(False, 0.1, "no", ()) for _ in images]


def drawn(root: Path, films: list[tuple[str, str, float]], split: str = "val") -> Path:
    """Write films (patient, finding, grey of the lungs 0..1) with both lungs drawn; black and white at the border."""
    images, regions = root / "images.csv", root / "regions.csv"
    if not images.exists():
        images.write_text("image,width,height,source,patient,finding,age_group,split\n")
        regions.write_text("image,anatomy,x0,y0,x1,y1,origin\n")
    with images.open("a") as rows, regions.open("a") as boxes:
        for i, (patient, finding, grey) in enumerate(films):
            name = f"{split}{i}.png"
            picture = np.zeros((SIDE, SIDE))
            picture[:, 31:33] = 1
            for x0, y0, x1, y1 in (RIGHT, LEFT):
                picture[int(y0) : int(y1), int(x0) : int(x1)] = grey
            Image.fromarray((picture * 255).round().astype(np.uint8)).save(root / name)
            rows.write(f"{name},{SIDE},{SIDE},drawn,{patient},{finding},{'adult' if i % 2 else 'child'},{split}\n")
            boxes.write(f"{name},right lung,4,8,28,56,mask\n{name},left lung,36,8,60,56,derived\n")
    return root


FILMS = [("a", "normal", 0.2), ("b", "normal", 0.22), ("c", "viral pneumonia", 0.7), ("d", "bacterial pneumonia", 0.8)]
BASE = [
    ("e", "normal", 0.21),
    ("f", "normal", 0.19),
    ("g", "viral pneumonia", 0.71),
    ("h", "bacterial pneumonia", 0.81),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder whose lungs are the darker the more normal they are."""
    return drawn(drawn(tmp_path, BASE, "train"), FILMS)


def test_boxes_are_blanked_with_the_median_of_what_is_left_of_the_film() -> None:
    film = torch.zeros(8, 8)
    film[2:6] = 0.5
    film[2:5, :4] = 1.0
    made = blanked(film, Letterbox(1, 1, 0, 2, 8, 4), np.array([[0, 2, 4, 5], [np.nan] * 4], dtype=np.float32))
    assert (made[2:6] == 0.5).all()
    assert (made[:2].sum(), film[2, 0]) == (0, 1)
    assert (blanked(film, Letterbox(1, 1, 0, 2, 8, 4), np.array([[0, 0, 8, 8]], dtype=np.float32)) == 0.5).all()


def test_another_film_is_pasted_outside_or_inside_a_box() -> None:
    film, other, box = torch.zeros(4, 4), torch.ones(4, 4), np.array([1, 1, 3, 3], dtype=np.float32)
    assert pasted_outside(film, other, box).sum() == 12
    assert pasted_inside(film, other, box).sum() == 4


def test_a_crop_alone_lies_in_the_middle_and_nothing_around_it_is_left() -> None:
    film = torch.full((8, 8), 0.9)
    film[1:3, 4:8] = torch.tensor([0.1, 0.2, 0.3, 0.4])
    made, box = alone(film, np.array([4, 1, 8, 3], dtype=np.float32))
    assert box.tolist() == [2, 3, 6, 5]
    torch.testing.assert_close(made[3:5, 2:6], film[1:3, 4:8])
    assert float(made.sum()) == pytest.approx(2.0)


def test_a_model_that_looks_only_at_the_box_is_local_and_one_that_looks_everywhere_is_not(folder: Path) -> None:
    found = {}
    for global_ in (False, True):
        model: Any = KnownModel(global_=global_)
        base, asked = (analyse_films(model, read_split(folder, s)) for s in ("train", "val"))
        found[global_] = locality_cases(model, base, asked, (4, 0)).figures()
    local, everywhere = found[False], found[True]
    assert local["outside_similarity"] is not None
    assert local["outside_similarity"].value == pytest.approx(1)
    assert local["outside_similarity"].n == 8
    assert local["outside_p_at_5_drop"].value == 0  # type: ignore[union-attr]
    assert local["inside_similarity"].value < 0.95  # type: ignore[union-attr]
    assert everywhere["outside_similarity"].value < 0.99  # type: ignore[union-attr]


def test_one_patient_alone_has_no_other_film_to_paste(tmp_path: Path) -> None:
    model: Any = KnownModel()
    films = read_split(drawn(tmp_path, [("a", "normal", 0.2), ("a", "normal", 0.3)]), "val")
    asked = analyse_films(model, films)
    assert len(locality_cases(model, asked, asked, (4, 4))) == 0


def test_blanked_lungs_lose_what_was_in_them(folder: Path) -> None:
    model: Any = KnownModel()
    base, asked = (analyse_films(model, read_split(folder, s)) for s in ("train", "val"))
    found = lung_controls(model, base, asked)
    assert found["lungs"]["binary"].values["p_at_1"].tolist() == [1] * 8
    np.testing.assert_allclose(found["region_blanked"]["binary"].values["p_at_1"], [1, 1, 0, 0] * 2)
    lift = found["lungs"]["binary"].values["lift_over_region_blanked"]
    difference = found["lungs"]["binary"].values["p_at_5"] - found["region_blanked"]["binary"].values["p_at_5"]
    np.testing.assert_array_equal(lift, difference)


def test_anatomies_cut_out_of_view_count_where_they_are_still_reported(tmp_path: Path) -> None:
    model: Any = KnownModel()
    root = drawn(tmp_path, [(p, "", 0.2) for p in "abcd"])
    asked = analyse_films(model, read_split(root, "val"))
    cases = presence_cases(model, asked, np.arange(4))
    assert list(zip(cases.rows.tolist(), cases.slots.tolist(), strict=True)) == [(2, LUNGS[1]), (3, LUNGS[0])]
    assert cases.figures()["presence_fpr"].value == 1  # type: ignore[union-attr]


def test_anatomies_are_named_at_true_and_at_found_boxes(folder: Path) -> None:
    model: Any = KnownModel()
    asked = analyse_films(model, read_split(folder, "val"))
    true, found = named_at_boxes(model, asked)
    for named in (true, found):
        assert set(named[:, LUNGS].ravel().tolist()) == {LUNGS[0]}
        assert (np.delete(named, LUNGS, axis=1) == -1).all()


def test_crops_are_named_by_their_nearest_crops(folder: Path) -> None:
    model: Any = KnownModel()
    base, asked = (analyse_films(model, read_split(folder, s)) for s in ("train", "val"))
    cases = crop_cases(model, base, asked, 2)
    assert len(cases) == 4
    assert set(cases.values["accuracy_crop"].tolist()) <= {0.0, 1.0}


def test_a_sample_of_films_is_the_same_in_any_order_of_the_split(folder: Path) -> None:
    model: Any = KnownModel()
    films = read_split(folder, "val")
    names = [{films[i].name for i in chosen_rows(analyse_films(model, f), 2)} for f in (films,)]
    backwards = films[::-1]
    again = {backwards[i].name for i in chosen_rows(analyse_films(model, backwards), 2)}
    assert names == [again]
    assert len(again) == 2


def exact(base: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    return np.argsort(-(queries @ base.T), axis=1)[:, :k]


@pytest.fixture
def whole(tmp_path: Path) -> Evaluation:
    """Return the evaluation of a model whose figures are known: each lung's grey tells its finding."""
    films = [*FILMS, ("a", "normal", 0.205), ("x", "", 0.5)]
    root = drawn(drawn(tmp_path, BASE * 3, "train"), films)
    model: Any = KnownModel()
    refused = Negatives([np.zeros((8, 8), dtype=np.float32)] * 3, "three black images")
    return evaluate(
        model,
        (root, "train"),
        (root, "val"),
        group_by=("source", "age_group", "origin"),
        effort=Effort(control_films=9, crop_films=2, lung_films=3, zone_films=1, cut_films=6),
        negatives=refused,
        generate=False,
        search=exact,
    )


def test_every_documented_key_is_there_with_value_interval_and_count(whole: Evaluation) -> None:
    tree = as_json(whole.figures)
    within = "retrieval.within_anatomy_finding"
    measures = ("p_at_1", "p_at_5", "p_at_10", "map_at_r", "ndcg_10", "prevalence", "lift")
    keys = [f"detector.{k}" for k in ("mean_iou", "recall_50", "recall_75", "static_prior_mean_iou", "presence_fpr")]
    keys += ["detector.per_anatomy.right lung"]
    keys += [f"anatomy.accuracy_{k}" for k in ("crop", "roi", "roi_detected", "box_only", "box_only_detected")]
    keys += [f"retrieval.same_anatomy.{k}" for k in ("p_at_1", "p_at_10", "map_at_r")]
    keys += [f"{within}{part}.{m}" for m in measures for part in ("", ".per_anatomy.left lung", ".per_finding.normal")]
    keys += [f"{within}.{p}.{m}" for m in measures for p in ("binary", "abnormal_only", "leave_one_patient_out")]
    keys += [f"{within}.leave_one_patient_out.gap"]
    names = ("box_only", "thumbnail", "lungs", "region_blanked", "region_blanked_pixels")
    keys += [f"controls.{name}{kind}.p_at_5" for name in names for kind in ("", ".binary")]
    keys += ["controls.lungs.lift_over_region_blanked"]
    keys += [f"locality.{k}" for k in ("outside_similarity", "outside_p_at_5_drop", "inside_similarity")]
    keys += ["participation_ratio.right lung", "rejection.auroc", "rejection.false_accept_rate"]
    keys += ["reidentification.nearest_is_same_patient", "reidentification.by_chance"]
    keys += ["ann.recall_10", "ann.recall_10_by_id"]
    keys += [f"by_group.{group}.detector.mean_iou" for group in ("drawn", "adult", "child", "mask", "derived")]
    for key in keys:
        node = tree
        for name in key.split("."):
            assert name in node, key
            node = node[name]
        assert node.keys() == MEASURE, key
        assert node["low"] <= node["high"], key
    assert json.loads(json.dumps(tree)) == tree


def test_figures_of_a_known_model_are_what_they_must_be(whole: Evaluation) -> None:
    tree = as_json(whole.figures)
    assert tree["detector"]["mean_iou"]["value"] == 1
    assert tree["anatomy"]["accuracy_roi"]["value"] == 0.5  # it calls every lung the right one
    within = tree["retrieval"]["within_anatomy_finding"]
    assert within["p_at_1"] == {"value": 1, "low": 1, "high": 1, "n": 10}
    assert within["prevalence"]["value"] == pytest.approx(0.4, abs=1e-3)  # three queries of 1/2, two of 1/4
    assert tree["reidentification"]["nearest_is_same_patient"]["n"] == 4
    assert tree["ann"]["recall_10"]["value"] == 1
    assert tree["rejection"]["auroc"]["value"] == 1
    assert tree["rejection"]["false_accept_rate"] == {"value": 0, "low": 0, "high": 0, "n": 3}
    assert tree["rejection"]["negatives"] == "three black images"


def test_a_group_by_origin_judges_only_boxes_of_that_origin(whole: Evaluation) -> None:
    groups = as_json(whole.figures)["by_group"]
    assert groups["mask"]["detector"]["per_anatomy"].keys() == {"right lung"}
    assert groups["derived"]["detector"]["per_anatomy"].keys() == {"left lung"}
    assert groups["mask"]["anatomy"]["accuracy_roi"]["value"] == 1
    assert groups["derived"]["anatomy"]["accuracy_roi"]["value"] == 0
    assert groups["drawn"]["detector"] == {
        k: v for k, v in as_json(whole.figures)["detector"].items() if k != "by_age_group"
    }


def test_queries_cannot_be_grouped_by_just_anything() -> None:
    with pytest.raises(ValueError, match="cannot group by 'patient'; known: source, age_group, origin"):
        check_columns(["source", "patient"])


def test_a_set_without_findings_has_no_figures_of_findings_and_all_others(tmp_path: Path) -> None:
    root = drawn(drawn(tmp_path, [(p, "", 0.3) for p in "abc"], "train"), [("d", "", 0.4)])
    model: Any = KnownModel()
    films = [read_split(root, s) for s in ("train", "val")]
    judged = judge(model, *films, negatives=Negatives([np.zeros((8, 8), dtype=np.float32)], "one"), generate=False)
    tree = as_json(figures(judged, 0.5))
    assert "within_anatomy_finding" not in tree["retrieval"]
    assert "controls" not in tree
    assert tree["detector"]["mean_iou"]["n"] == 2
    assert group_figures(judged, ["finding"], 0.5).keys() == {"unknown"}
    write_report(Evaluation(judged, {**_heads(), **figures(judged, 0.5)}), tmp_path / "report")
    assert "No film has a finding." in (tmp_path / "report" / "report.md").read_text()


def _heads() -> dict[str, Any]:
    split = {"films": 1, "patients": 1, "split": "x", "films_withheld": 0}
    return {"model": {"name": "m", "version": "1", "weights_sha256": "0"}, "database": split, "queries": split}


def test_films_without_any_box_are_searched_all_the_same(folder: Path) -> None:
    (folder / "regions.csv").write_text("image,anatomy,x0,y0,x1,y1,origin\n")
    model: Any = KnownModel()
    films = [read_split(folder, s) for s in ("train", "val")]
    judged = judge(model, *films, negatives=Negatives([np.zeros((8, 8), dtype=np.float32)], "one"), generate=False)
    tree = as_json(figures(judged, 0.5))
    assert "mean_iou" not in tree["detector"]
    assert tree["rejection"]["film_accept_rate"]["value"] == 1


def test_the_dump_holds_what_the_figures_are_computed_from(whole: Evaluation, tmp_path: Path) -> None:
    write_dump(whole.judged, tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as dump:
        vectors, labels = (dump[f"{side}_vectors"][:, LUNGS[0]] for side in ("queries", "database")), dump
        queries, base = vectors
        labelled = labels["queries_findings"] != ""
        nearest = (queries @ base.T).argmax(axis=1)
        same = labels["database_findings"][nearest] == labels["queries_findings"]
        found = as_json(whole.figures)["retrieval"]["within_anatomy_finding"]["per_anatomy"]["right lung"]
        assert same[labelled].mean() == found["p_at_1"]["value"]
        assert dump["anatomies"][LUNGS[0]] == "right lung"
        np.testing.assert_allclose(dump["queries_boxes"][0, LUNGS[0]], np.array(RIGHT) / SIDE, atol=1e-6)


def test_the_report_names_its_pictures_and_they_are_there(whole: Evaluation, tmp_path: Path) -> None:
    write_report(whole, tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text()
    pictures = {p.name for p in (tmp_path / "report").glob("*.png")}
    assert pictures >= {"iou.png", "confusion.png", "precision-recall.png", "hits.png", "pca-findings.png"}
    for name in pictures:
        assert f"({name})" in text
    assert "| control: region blanked |" in text
    assert "keep it where" in text.lower()


def test_evaluations_of_the_same_films_agree_to_the_last_digit(folder: Path) -> None:
    model: Any = KnownModel()
    twice = [as_json(evaluate(model, (folder, "train"), (folder, "val")).figures) for _ in range(2)]
    assert twice[0] == twice[1]
