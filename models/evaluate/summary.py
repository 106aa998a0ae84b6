"""From cases to the tree of figures that is printed, written as JSON and reported; the keys are documented."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models.evaluate.calibration import reliability
from models.evaluate.cases import Bools, Cases, Texts
from models.evaluate.figures import Figure, Floats, mean_figure, statistic_figure
from models.evaluate.judging import Judged
from models.evaluate.locality import MEASURES as LOCALITY
from models.evaluate.rejection import rejection_figures
from models.evaluate.retrieval import participation_ratio
from regionmir.core.anatomy import anatomies

GROUPINGS = ("source", "age_group", "origin", "finding")
_RATIO_DRAWS = 100
UNKNOWN = "unknown"


def figures(judged: Judged, threshold: float) -> dict[str, Any]:
    """Return every figure of all queries; a film is accepted from the score `threshold` on."""
    everything = np.ones(judged.queries.known.shape, dtype=bool)
    tree = _of(judged, everything, threshold)
    ages = {str(g): (judged.queries.groups == g)[:, None] & everything for g in np.unique(judged.queries.groups)}
    tree["detector"]["by_age_group"] = {name: _detector(judged, keep) for name, keep in ages.items() if name}
    return tree


def group_figures(judged: Judged, columns: Sequence[str], threshold: float) -> dict[str, Any]:
    """Return the same figures of each group of queries under the group's name; the database stays whole.

    `columns` are of `GROUPINGS`: a film belongs to a group by its row of images.csv, a box by its `origin`. Raises
    `ValueError` for another column.
    """
    found: dict[str, Any] = {}
    for column in columns:
        for name, keep in _groups(judged, column).items():
            found[name if name not in found else f"{column} {name}"] = _of(judged, keep, threshold)
    return found


def check_columns(columns: Sequence[str]) -> None:
    """Raise `ValueError` where queries cannot be grouped by one of `columns`."""
    for column in columns:
        if column not in GROUPINGS:
            raise ValueError(f"cannot group by {column!r}; known: {', '.join(GROUPINGS)}")


def _groups(judged: Judged, column: str) -> dict[str, Bools]:
    """Return the films and anatomies (N, A) of each group."""
    shape, films = judged.queries.known.shape, judged.queries.films
    values = np.full(shape, "", dtype="<U64")
    for i, film in enumerate(films):
        if column == "origin":
            for key, origin in film.origins.items():
                values[i, key - 1] = origin
        else:
            values[i] = str(getattr(film, column)) or UNKNOWN
    return {str(value): values == value for value in np.unique(values) if value}


def _of(judged: Judged, keep: Bools, threshold: float) -> dict[str, Any]:
    cases = judged.anatomy.where(keep)
    films: Bools = np.asarray(keep.any(axis=1))
    return {
        "detector": _detector(judged, keep),
        "anatomy": _naming(judged, keep),
        "retrieval": {
            "same_anatomy": cases.figures() | {"per_anatomy": cases.per_anatomy()},
            "within_anatomy_finding": _within(judged, keep),
        },
        "controls": _controls(judged, keep),
        "locality": _locality(judged.locality.where(keep)),
        "calibration": {"hits": reliability(judged.hits.where(keep))},
        "reidentification": _with_anatomies(judged.reidentification.where(keep)),
        "participation_ratio": participation_ratios(judged, keep),
        "rejection": rejection_figures(judged.queries, films, judged.negative_scores, threshold)
        | {"negatives": judged.negatives},
        "ann": _with_anatomies(judged.ann.where(keep)),
    }


def _with_anatomies(cases: Cases) -> dict[str, Any]:
    return {**cases.figures(), "per_anatomy": cases.per_anatomy()} if len(cases) else {}


def _detector(judged: Judged, keep: Bools) -> dict[str, Any]:
    cases, presence = judged.detection.where(keep), judged.presence.where(keep)
    found: dict[str, Any] = dict(cases.figures())
    found["per_anatomy"] = {name: of["mean_iou"] for name, of in cases.per_anatomy().items()}
    found["static_prior_per_anatomy"] = {n: of["static_prior_mean_iou"] for n, of in cases.per_anatomy().items()}
    found["presence_fpr"] = presence.figures().get("presence_fpr")
    found["presence_fpr_per_anatomy"] = {n: of["presence_fpr"] for n, of in presence.per_anatomy().items()}
    return found


def _naming(judged: Judged, keep: Bools) -> dict[str, Any]:
    parts = {n: getattr(judged, n).where(keep) for n in ("crop", "roi", "box_only")}
    found: dict[str, Any] = {}
    for cases in parts.values():
        found |= cases.figures()
    found["per_anatomy"] = _merged([cases.per_anatomy() for cases in parts.values()])
    return found


def _merged(trees: Sequence[Mapping[str, Mapping[str, Figure | None]]]) -> dict[str, dict[str, Figure | None]]:
    found: dict[str, dict[str, Figure | None]] = {}
    for tree in trees:
        for name, of in tree.items():
            found.setdefault(name, {}).update(of)
    return found


def _finding(cases: Cases) -> dict[str, Any]:
    if not len(cases):
        return {}
    return {**cases.figures(), "per_anatomy": cases.per_anatomy(), "per_finding": cases.per_label()}


def _within(judged: Judged, keep: Bools) -> dict[str, Any]:
    findings = {name: cases.where(keep) for name, cases in judged.findings.items()}
    found = _finding(findings["three"])
    if found:
        found |= {name: _finding(findings[name]) for name in ("binary", "abnormal_only")}
        found["leave_one_patient_out"] = _left_out(findings["three"], judged.left_out.where(keep))
    return found


def _left_out(database: Cases, left_out: Cases) -> dict[str, Any]:
    """Return the figures of the queries searched among themselves, and by how much P@5 in the database is above."""
    found = _finding(left_out)
    keys, others = ([*zip(c.rows.tolist(), c.slots.tolist(), strict=True)] for c in (database, left_out))
    here = dict(zip(others, left_out.values.get("p_at_5", np.zeros(0)), strict=True))
    both = np.array([k in here for k in keys], dtype=bool)
    if both.any():
        gap = database.values["p_at_5"][both] - np.array([here[k] for k in keys if k in here])
        found["gap"] = mean_figure(gap, database.patients[both])
    return found


def _controls(judged: Judged, keep: Bools) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, kinds in judged.controls.items():
        kept = {kind: cases.where(keep) for kind, cases in kinds.items()}
        if len(kept["three"]):
            found[name] = {**_finding(kept["three"]), "binary": _finding(kept["binary"])}
    if "lungs" in found:
        found["database_films"] = judged.control_films
    return found


def _locality(cases: Cases) -> dict[str, Any]:
    return {**cases.only(*LOCALITY).figures(), "per_anatomy": cases.per_anatomy()} if len(cases) else {}


def participation_ratios(judged: Judged, keep: Bools) -> dict[str, Figure]:
    """Return for each anatomy over how many directions the vectors of the queries spread (interval: 100 draws)."""
    found, queries = {}, judged.queries
    for anatomy in anatomies():
        slot = anatomy.key - 1
        rows = queries.found[:, slot] & keep[:, slot]
        vectors: Floats = queries.vectors[rows, slot].astype(np.float64)
        patients: Texts = queries.patients[rows]
        if len(vectors) > 2 and len(np.unique(patients)) > 1:
            found[anatomy.name] = statistic_figure(vectors, patients, participation_ratio, _RATIO_DRAWS)
    return found
