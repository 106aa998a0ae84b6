"""The whole judgement of a model on two splits of films."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.data.films import Film, without_patients_of
from models.data.folder import read_split
from models.evaluate.analysed import Analysed, analyse_films
from models.evaluate.detection import detection_figures
from models.evaluate.figures import as_json, mean_figure
from models.evaluate.rejection import folder_negatives, generated_negatives, rejection_figures
from models.evaluate.retrieval import (
    anatomy_figures,
    box_only,
    box_only_queries,
    finding_figures,
    participation_ratios,
)
from models.region_model import RegionModel
from regionmir.core.errors import RegionMirError

Labels = npt.NDArray[np.str_]
Progress = Callable[[str, int, int], None]
"""Called with what is being done, and (done, total)."""


def evaluate(
    model: RegionModel,
    database: tuple[Path, str],
    queries: tuple[Path, str],
    *,
    negatives: Path | None = None,
    progress: Progress = lambda _what, _done, _total: None,
) -> dict[str, Any]:
    """Return every figure as nested mappings of `Figure`; `figures.as_json` makes JSON of them.

    `database` and `queries` are each a folder and a split. Films of query patients are taken out of the database.
    Raises `DataError`.
    """
    base_films, query_films = read_split(*database), read_split(*queries)
    kept = without_patients_of(base_films, query_films) if database != queries else base_films
    base = analyse_films(model, kept, lambda d, t: progress("database", d, t))
    asked = analyse_films(model, query_films, lambda d, t: progress("queries", d, t))
    progress("figures", 0, 1)
    refused = folder_negatives(negatives) if negatives else generated_negatives(asked, model.side)
    found = {
        "model": {"name": model.info.name, "version": model.info.version, "weights_sha256": model.info.weights_sha256},
        "database": _described(database, kept, len(base_films) - len(kept)),
        "queries": _described(queries, query_films, 0),
        "detector": detection_figures(base, asked),
        "anatomy": _anatomy(base, asked),
        "retrieval": {
            "same_anatomy": anatomy_figures(base, asked),
            "within_anatomy_finding": _within(base, asked),
        },
        "controls": {"box_only": _box_only(base, asked)},
        "participation_ratio": participation_ratios(asked),
        "rejection": rejection_figures(model, asked, refused),
    }
    progress("figures", 1, 1)
    return found


def write_json(found: dict[str, Any], file: Path) -> None:
    """Write the figures to `file`. Raises `RegionMirError` where it cannot be written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(as_json(found), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise RegionMirError(f"{file} cannot be written: {error.strerror}") from None


def _described(where: tuple[Path, str], films: list[Film], withheld: int) -> dict[str, object]:
    return {"split": where[1], "films": len(films), "films_withheld": withheld}


def three_classes(findings: Labels) -> Labels:
    """Return the findings as they are."""
    return findings


def normal_or_pneumonia(findings: Labels) -> Labels:
    """Return `normal`, `pneumonia`, or "" for anything else."""
    pneumonia = np.char.find(findings, "pneumonia") >= 0
    return np.where(pneumonia, "pneumonia", np.where(findings == "normal", "normal", ""))


def abnormal_only(findings: Labels) -> Labels:
    """Return the findings without `normal`."""
    return np.where(findings == "normal", "", findings)


def _within(base: Analysed, asked: Analysed) -> dict[str, object]:
    return finding_figures(base, asked, three_classes) | {
        "binary": finding_figures(base, asked, normal_or_pneumonia),
        "abnormal_only": finding_figures(base, asked, abnormal_only),
        "leave_one_patient_out": finding_figures(asked, asked, three_classes),
    }


def _box_only(base: Analysed, asked: Analysed) -> dict[str, object]:
    return finding_figures(base, asked, three_classes, box_only, box_only_queries) | {
        "binary": finding_figures(base, asked, normal_or_pneumonia, box_only, box_only_queries)
    }


def _anatomy(base: Analysed, asked: Analysed) -> dict[str, object]:
    rows, slots = np.nonzero(asked.known)
    if not len(rows) or base.known.sum() < 2:
        return {}
    right = (asked.anatomy_guess[rows, slots] == slots).astype(np.float64)
    return {
        "accuracy_roi": mean_figure(right, asked.patients[rows]),
        "accuracy_box_only": mean_figure(_by_nearest_box(base, asked), asked.patients[rows]),
    }


def _by_nearest_box(base: Analysed, asked: Analysed) -> npt.NDArray[np.float64]:
    """Return for each true box whether most of its (at most 5) nearest boxes in the database are of its anatomy."""
    base_rows, base_slots = np.nonzero(base.known)
    known = base.true_boxes[base_rows, base_slots]
    rows, slots = np.nonzero(asked.known)
    right = np.zeros(len(rows))
    votes_of = min(5, len(known) - 1)
    half = (known**2).sum(axis=1) / 2
    for start in range(0, len(rows), 512):
        part = slice(start, start + 512)
        closeness = asked.true_boxes[rows[part], slots[part]] @ known.T - half
        near = base_slots[np.argpartition(-closeness, votes_of, axis=1)[:, :votes_of]]
        votes = (near[:, :, None] == near[:, None, :]).sum(axis=2)
        right[part] = near[np.arange(len(near)), votes.argmax(axis=1)] == slots[part]
    return right
