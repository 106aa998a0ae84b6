"""Figures of an evaluation, on cases small enough to check by hand."""

from pathlib import Path

import numpy as np
import pytest

from models.data.films import Film
from models.evaluate.analysed import Analysed
from models.evaluate.detection import detection_figures, overlaps
from models.evaluate.figures import Figure, as_json, auroc, mean_figure
from models.evaluate.retrieval import (
    anatomy_figures,
    box_only,
    box_only_queries,
    finding_figures,
    forbidden,
    participation_ratios,
    rank,
)
from models.network import SLOTS

LUNG = 0


def analysed(
    patients: str, findings: list[str], vectors: np.ndarray, boxes: list[list[float]] | None = None
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
        Film(f"{i}", Path(f"{i}"), 100, 80, "ours", p, f, "adult", "x", {}, {})
        for i, (p, f) in enumerate(zip(patients, findings, strict=True))
    )
    return Analysed(
        films=films,
        patients=np.array(list(patients)),
        findings=np.array(findings),
        groups=np.array(["adult"] * n),
        pixel_sums=np.array([f"{p}{i}" for i, p in enumerate(patients)]),
        true_boxes=true,
        boxes=found,
        vectors=all_vectors,
        anatomy_guess=np.full((n, SLOTS), -1),
        frontal=np.ones(n, dtype=np.float32),
        accepted=np.ones(n, dtype=bool),
    )


def unit(*degrees: float) -> np.ndarray:
    """Return unit vectors (N, 2) at these angles."""
    angle = np.deg2rad(np.array(degrees))
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def test_the_interval_draws_patients_not_films() -> None:
    values = np.array([1.0] * 50 + [0.0] * 50)
    by_film = mean_figure(values, np.arange(100))
    by_patient = mean_figure(values, np.repeat([0, 1], 50))
    assert by_film is not None
    assert by_patient is not None
    assert by_film.value == by_patient.value == 0.5
    assert by_film.low > 0.38
    assert (by_patient.low, by_patient.high) == (0, 1)


def test_no_cases_give_no_figure_and_no_key() -> None:
    assert mean_figure([], []) is None
    assert as_json({"a": None, "b": {"c": Figure(0.5, 0.4, 0.6, 3)}}) == {
        "b": {"c": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 3}}
    }


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
    found = detection_figures(base, asked)
    mean, prior = found["mean_iou"], found["static_prior_mean_iou"]
    assert isinstance(mean, Figure)
    assert isinstance(prior, Figure)
    assert mean.value == pytest.approx(0.5)
    assert prior.value == pytest.approx(1)


def test_no_hit_shares_patient_or_pixels_with_the_query() -> None:
    films = analysed("aab", ["x", "x", "y"], unit(0, 1, 90))
    np.testing.assert_array_equal(forbidden(films, films), [[1, 1, 0], [1, 1, 0], [0, 0, 1]])
    found = finding_figures(films, films, lambda labels: labels)
    assert found["p_at_1"] == Figure(0, 0, 0, 3)


def test_rankings_are_measured_as_by_hand() -> None:
    ranked = rank(
        unit(0),
        unit(1, 2, 3, 4),
        np.array(["x"]),
        np.array(["x", "y", "x", "x"]),
        np.array([[False, False, False, True]]),
        np.array(["p"]),
    )
    measured = {name: values[0] for name, values in ranked.measures().items()}
    assert measured["p_at_1"] == 1
    assert measured["p_at_5"] == pytest.approx(2 / 3)
    assert measured["prevalence"] == pytest.approx(2 / 3)
    assert measured["map_at_r"] == pytest.approx((1 + 0) / 2)
    assert measured["ndcg_10"] == pytest.approx((1 + 0.5) / (1 + 1 / np.log2(3)))


def test_films_without_a_finding_take_no_part() -> None:
    base = analysed("abc", ["x", "y", ""], unit(0, 90, 1))
    asked = analysed("de", ["x", ""], unit(2, 3))
    found = finding_figures(base, asked, lambda labels: labels)
    assert found["p_at_1"] == Figure(1, 1, 1, 1)
    assert finding_figures(base, analysed("e", [""], unit(3)), lambda labels: labels) == {}


def test_the_box_only_control_ranks_by_distance_of_boxes() -> None:
    boxes = [[0.1, 0.1, 0.5, 0.9], [0.2, 0.1, 0.5, 0.9], [0.4, 0.1, 0.5, 0.9]]
    films = analysed("abc", ["", "", ""], unit(0, 0, 0), boxes)
    closeness = box_only_queries(films, LUNG) @ box_only(films, LUNG).T
    np.testing.assert_array_equal(np.argsort(-closeness, axis=1)[0], [0, 1, 2])
    np.testing.assert_array_equal(np.argsort(-closeness, axis=1)[2], [2, 1, 0])


def test_vectors_on_one_line_have_a_participation_ratio_of_one() -> None:
    rng = np.random.default_rng(0)
    line = np.outer(rng.normal(size=50), np.ones(4))
    cloud = rng.normal(size=(50, 4))
    assert participation_ratios(analysed("a" * 50, [""] * 50, line))["right lung"] == pytest.approx(1)
    assert participation_ratios(analysed("a" * 50, [""] * 50, cloud))["right lung"] > 3


def test_nearest_regions_of_any_anatomy_are_counted() -> None:
    base, asked = analysed("a" * 12, [""] * 12, unit(*range(12))), analysed("b", [""], unit(5))
    assert anatomy_figures(base, asked)["p_at_10"] == Figure(1, 1, 1, 1)
