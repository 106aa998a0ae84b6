"""Figures of an evaluation, on cases small enough to check by hand."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from models.data.films import Film
from models.evaluate.analysed import Analysed
from models.evaluate.calibration import hit_cases, reliability
from models.evaluate.cases import make_cases
from models.evaluate.detection import detection_cases, overlaps
from models.evaluate.figures import Figure, as_json, auroc, mean_figure, mean_figures
from models.evaluate.naming import vote
from models.evaluate.neighbours import ann_cases, recall
from models.evaluate.privacy import reidentification_cases
from models.evaluate.retrieval import (
    abnormal_only,
    anatomy_cases,
    box_only,
    box_only_queries,
    finding_cases,
    forbidden,
    measures,
    normal_or_pneumonia,
    participation_ratio,
    rank,
    three_classes,
)
from models.network import SLOTS

LUNG = 0
THREE = {"three": three_classes}


def analysed(
    patients: str, findings: list[str], vectors: np.ndarray, boxes: list[list[float]] | None = None, folder: str = "q"
) -> Analysed:
    """Return films that show the right lung only, one letter of `patients` each."""
    n = len(patients)
    true = np.full((n, SLOTS, 4), np.nan, dtype=np.float32)
    true[:, LUNG] = [0.1, 0.1, 0.5, 0.9]
    found = np.full_like(true, np.nan)
    found[:, LUNG] = boxes or [[0.1, 0.1, 0.5, 0.9]] * n
    all_vectors = np.zeros((n, SLOTS, vectors.shape[1]), dtype=np.float32)
    all_vectors[:, LUNG] = vectors
    films = tuple(
        Film(f"{i}", Path(f"/{folder}/{i}"), 100, 80, "ours", p, f, "adult", "x", {}, {})
        for i, (p, f) in enumerate(zip(patients, findings, strict=True))
    )
    return Analysed(
        films=films,
        patients=np.array(list(patients)),
        findings=np.array(findings),
        groups=np.array(["adult"] * n),
        pixel_sums=np.array([f"{folder}{p}{i}" for i, p in enumerate(patients)]),
        true_boxes=true,
        boxes=found,
        input_boxes=found * 64,
        scores=np.where(np.isnan(found[..., 0]), 0, 1).astype(np.float32),
        vectors=all_vectors,
        frontal=np.ones(n, dtype=np.float32),
        accepted=np.ones(n, dtype=bool),
        thumbnails=np.ones((n, 4), dtype=np.float32),
        blanked_thumbnails=np.ones((n, 4), dtype=np.float32),
    )


def unit(*degrees: float) -> np.ndarray:
    """Return unit vectors (N, 2) at these angles."""
    angle = np.deg2rad(np.array(degrees))
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def value(figure: Figure | None) -> float:
    assert figure is not None
    return figure.value


def test_the_interval_draws_patients_not_films() -> None:
    values = np.array([1.0] * 50 + [0.0] * 50)
    by_film = mean_figure(values, np.arange(100))
    by_patient = mean_figure(values, np.repeat([0, 1], 50))
    assert by_film is not None
    assert by_patient is not None
    assert by_film.value == by_patient.value == 0.5
    assert by_film.low > 0.38
    assert (by_patient.low, by_patient.high) == (0, 1)


def test_cases_without_a_measure_are_left_out_of_its_mean() -> None:
    found = mean_figures({"a": [1.0, np.nan, 0.0], "b": [np.nan] * 3}, ["x", "y", "z"])
    assert found["a"] is not None
    assert (found["a"].value, found["a"].n, found["b"]) == (0.5, 2, None)


def test_no_cases_give_no_figure_and_no_key() -> None:
    assert mean_figure([], []) is None
    assert as_json({"a": None, "b": {"c": Figure(0.5, 0.4, 0.6, 3)}, "d": [{"e": None, "f": 1}]}) == {
        "b": {"c": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 3}},
        "d": [{"f": 1}],
    }


def test_a_group_keeps_its_cases_and_a_film_with_any_of_its_anatomies() -> None:
    cases = make_cases(np.array(["p", "q"]), np.array([0, 1, 1]), np.array([3, 3, -1]), {"x": [1, 0, 0.5]})
    keep = np.zeros((2, SLOTS), dtype=bool)
    keep[1, 4] = True
    assert cases.where(keep).values["x"].tolist() == [0.5]
    keep[0, 3] = True
    assert cases.where(keep).values["x"].tolist() == [1, 0.5]
    assert cases.where(keep).patients.tolist() == ["p", "q"]


def test_auroc_counts_ties_half() -> None:
    assert auroc(np.array([3.0, 2.0]), np.array([1.0, 0.0])) == 1
    assert auroc(np.array([1.0]), np.array([1.0])) == 0.5
    assert auroc(np.array([1.0, 3.0]), np.array([2.0])) == 0.5


def test_overlap_with_a_box_that_was_not_found_is_zero() -> None:
    a = np.array([[0, 0, 1, 1], [0, 0, 1, 1]], dtype=np.float32)
    b = np.array([[0.5, 0, 1.5, 1], [np.nan] * 4], dtype=np.float32)
    np.testing.assert_allclose(overlaps(a, b), [1 / 3, 0])


def test_a_region_that_was_not_found_lowers_the_mean_overlap() -> None:
    base = analysed("ab", ["", ""], unit(0, 0))
    asked = analysed("cd", ["", ""], unit(0, 0), [[0.1, 0.1, 0.5, 0.9], [np.nan] * 4])
    found = detection_cases(base, asked).figures()
    assert value(found["mean_iou"]) == pytest.approx(0.5)
    assert value(found["recall_75"]) == 0.5
    assert value(found["static_prior_mean_iou"]) == pytest.approx(1)


def test_no_hit_shares_patient_file_or_pixels_with_the_query() -> None:
    films = analysed("aab", ["x", "x", "y"], unit(0, 1, 90))
    np.testing.assert_array_equal(forbidden(films, films), [[1, 1, 0], [1, 1, 0], [0, 0, 1]])
    found = finding_cases(films, films, THREE)["three"].figures()
    assert found["p_at_1"] == Figure(0, 0, 0, 3)
    twin = dataclasses.replace(analysed("cde", ["x"] * 3, unit(0, 0, 0), folder="d"), pixel_sums=films.pixel_sums)
    np.testing.assert_array_equal(forbidden(films, twin), np.eye(3))
    again = analysed("fgh", ["x"] * 3, unit(0, 0, 0))
    again = dataclasses.replace(again, pixel_sums=np.array(["1", "2", "3"]))
    np.testing.assert_array_equal(forbidden(films, again), np.eye(3))


def test_rankings_are_measured_as_by_hand() -> None:
    ranked = rank(unit(0), unit(1, 2, 3, 4), np.array([[False, False, False, True]]))
    relevant = ranked.relevant(np.array(["x"]), np.array(["x", "y", "x", "x"]))
    found = {name: values[0] for name, values in measures(relevant, ranked.permitted).items()}
    assert found["p_at_1"] == 1
    assert found["p_at_5"] == pytest.approx(2 / 3)
    assert found["prevalence"] == pytest.approx(2 / 3)
    assert found["lift"] == pytest.approx(0)
    assert found["map_at_r"] == pytest.approx((1 + 0) / 2)
    assert found["ndcg_10"] == pytest.approx((1 + 0.5) / (1 + 1 / np.log2(3)))


def test_a_query_without_any_relevant_entry_counts_as_zero() -> None:
    found = finding_cases(analysed("ab", ["x", "x"], unit(0, 1), folder="d"), analysed("c", ["y"], unit(0)), THREE)
    assert found["three"].figures()["map_at_r"] == Figure(0, 0, 0, 1)
    assert found["three"].figures()["ndcg_10"] == Figure(0, 0, 0, 1)


def test_films_without_a_finding_take_no_part() -> None:
    base = analysed("abc", ["x", "y", ""], unit(0, 90, 1), folder="d")
    asked = analysed("de", ["x", ""], unit(2, 3))
    assert finding_cases(base, asked, THREE)["three"].figures()["p_at_1"] == Figure(1, 1, 1, 1)
    assert len(finding_cases(base, analysed("e", [""], unit(3)), THREE)["three"]) == 0


def test_other_labels_of_one_ranking_are_measured_as_if_ranked_alone() -> None:
    findings = ["viral pneumonia", "normal", "bacterial pneumonia", "viral pneumonia"]
    base = analysed("abcd", findings, unit(3, 1, 2, 4), folder="d")
    asked = analysed("ef", ["viral pneumonia", "normal"], unit(0, 0))
    relabels = {"three": three_classes, "binary": normal_or_pneumonia, "abnormal_only": abnormal_only}
    found = finding_cases(base, asked, relabels)
    assert found["three"].values["p_at_5"].tolist() == [0.5, 0.25]
    assert found["three"].values["map_at_r"].tolist() == [0, 1]
    assert found["binary"].values["p_at_5"].tolist() == [0.75, 0.25]
    assert found["abnormal_only"].values["p_at_1"].tolist() == [0]
    assert found["abnormal_only"].values["p_at_5"] == pytest.approx([2 / 3])
    assert found["abnormal_only"].values["map_at_r"] == pytest.approx([0.25])


def test_the_box_only_control_ranks_by_distance_of_boxes() -> None:
    boxes = [[0.1, 0.1, 0.5, 0.9], [0.2, 0.1, 0.5, 0.9], [0.4, 0.1, 0.5, 0.9]]
    films = analysed("abc", ["", "", ""], unit(0, 0, 0), boxes)
    closeness = box_only_queries(films, LUNG) @ box_only(films, LUNG).T
    np.testing.assert_array_equal(np.argsort(-closeness, axis=1)[0], [0, 1, 2])
    np.testing.assert_array_equal(np.argsort(-closeness, axis=1)[2], [2, 1, 0])


def test_vectors_on_one_line_have_a_participation_ratio_of_one() -> None:
    rng = np.random.default_rng(0)
    assert participation_ratio(np.outer(rng.normal(size=50), np.ones(4))) == pytest.approx(1)
    assert participation_ratio(rng.normal(size=(500, 4))) > 3.8
    assert participation_ratio(np.ones((5, 4))) == 0


def test_nearest_regions_of_any_anatomy_are_counted() -> None:
    base, asked = analysed("a" * 3, [""] * 3, unit(0, 40, 80), folder="d"), analysed("b", [""], unit(0))
    base.true_boxes[1, 5] = base.boxes[1, 5] = [0, 0, 1, 1]
    base.vectors[1, 5] = unit(20)[0]
    found = anatomy_cases(base, asked).figures()
    assert (value(found["p_at_1"]), value(found["p_at_10"])) == (1, 0.75)
    assert value(found["map_at_r"]) == pytest.approx((1 + 2 / 3) / 3)  # right, wrong, right | right: R is 3


def test_the_majority_of_the_nearest_names_and_the_nearest_wins_a_tie() -> None:
    base, labels = unit(0, 2, 4, 90), np.array([7, 8, 8, 9])
    assert vote(unit(0), base, labels, votes=3).tolist() == [8]
    assert vote(unit(0), base, labels, votes=2).tolist() == [7]
    assert vote(unit(0), base, labels, votes=9).tolist() == [8]
    assert vote(unit(), base, labels).tolist() == []


def test_recall_by_similarity_lets_a_near_tie_count_and_recall_by_row_does_not() -> None:
    similarity = np.array([[1.0 - 0.05 * i for i in range(10)] + [0.5495, 0.2]], dtype=np.float32)
    exact = np.arange(10)[None]
    tied = np.array([[0, 1, 2, 3, 4, 5, 6, 7, 8, 10]])
    missed = np.array([[0, 1, 2, 3, 4, 5, 6, 7, 11, -1]])
    for found, by_value, by_row in ((exact, 1, 1), (tied, 1, 0.9), (missed, 0.8, 0.8)):
        measured = recall(similarity, found)
        assert measured["recall_10"].tolist() == [by_value]
        assert measured["recall_10_by_id"].tolist() == [by_row]


def test_an_exact_search_has_full_recall() -> None:
    base, asked = analysed("a" * 20, [""] * 20, unit(*range(20)), folder="d"), analysed("b", [""], unit(5))
    cases = ann_cases(base, asked, lambda b, q, k: np.argsort(-(q @ b.T), axis=1)[:, :k], 3)
    assert cases.figures()["recall_10_by_id"] == Figure(1, 1, 1, 1)
    assert len(ann_cases(asked, base, lambda b, q, k: np.zeros((len(q), k), dtype=np.int64), 3)) == 0


def test_a_patient_is_found_again_where_another_film_of_the_same_one_is_nearest() -> None:
    asked = analysed("aabbc", [""] * 5, unit(0, 1, 20, 60, 21))
    base = analysed("d", [""], unit(90), folder="d")
    cases = reidentification_cases(base, asked)
    assert cases.rows.tolist() == [0, 1, 2, 3]
    assert cases.values["nearest_is_same_patient"].tolist() == [1, 1, 0, 0]
    assert cases.values["by_chance"] == pytest.approx([1 / 5] * 4)
    assert len(reidentification_cases(base, analysed("abc", [""] * 3, unit(0, 1, 2)))) == 0


def test_a_copy_of_the_same_film_is_no_other_film_of_the_patient() -> None:
    asked = dataclasses.replace(analysed("aa", ["", ""], unit(0, 0)), pixel_sums=np.array(["same", "same"]))
    assert len(reidentification_cases(analysed("d", [""], unit(9), folder="d"), asked)) == 0


def test_the_reliability_table_tells_how_many_hits_of_a_similarity_share_the_finding() -> None:
    base = analysed("ab", ["x", "y"], unit(0, 60), folder="d")
    rows = reliability(hit_cases(base, analysed("c", ["x"], unit(0))))
    assert [(row["from"], row["same_finding"].value) for row in rows] == [(0.5, 0), (1, 1)]
    assert reliability(hit_cases(base, analysed("c", [""], unit(0)))) == []
