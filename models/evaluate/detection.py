"""How well regions are found: overlap with the true boxes, beside what a mean box reaches that looks at nothing."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from models.evaluate.analysed import Analysed, Bools, Floats
from models.evaluate.figures import Figure, mean_figure
from regionmir.core.anatomy import anatomies

Figures = Mapping[str, object]


def overlaps(a: Floats, b: Floats) -> npt.NDArray[np.float64]:
    """Return intersection over union of boxes (..., 4); 0 where one is NaN."""
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    shared = np.clip(high - low, 0, None).prod(axis=-1)
    areas = sum((t[..., 2:] - t[..., :2]).prod(axis=-1) for t in (a, b))
    found: npt.NDArray[np.float64] = np.nan_to_num(shared / (areas - shared))
    return found


def static_prior(database: Analysed, queries: Analysed) -> Floats:
    """Return for each query film the mean true boxes (N, A, 4) of the database's films of its age group.

    Where the database has none of that group, the mean of all its films.
    """
    prior = np.full_like(queries.true_boxes, np.nan)
    for group in np.unique(queries.groups):
        same = database.groups == group
        chosen = database.true_boxes[same if same.any() else slice(None)]
        known = ~np.isnan(chosen)
        prior[queries.groups == group] = np.where(known, chosen, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return prior


def detection_figures(database: Analysed, queries: Analysed) -> dict[str, object]:
    """Return the detector's figures over all true boxes of `queries`; one that was not found counts as overlap 0.

    A refused film counts like any other: its boxes are judged as the detector gives them.
    """
    iou = overlaps(queries.true_boxes, queries.boxes)
    prior = overlaps(queries.true_boxes, static_prior(database, queries))
    return _figures(queries, iou, prior, queries.known) | {
        "by_age_group": {
            str(group): _figures(queries, iou, prior, queries.known & (queries.groups == group)[:, None])
            for group in np.unique(queries.groups)
        }
    }


def _figures(
    queries: Analysed, iou: npt.NDArray[np.float64], prior: npt.NDArray[np.float64], chosen: Bools
) -> dict[str, object]:
    patients = np.broadcast_to(queries.patients[:, None], chosen.shape)

    def mean(values: npt.NDArray[np.float64], of: Bools = chosen) -> Figure | None:
        return mean_figure(values[of], patients[of])

    per_anatomy = {}
    for anatomy in anatomies():
        column = chosen & (np.arange(chosen.shape[1]) == anatomy.key - 1)
        per_anatomy[anatomy.name] = mean(iou, column)
    return {
        "mean_iou": mean(iou),
        "recall_50": mean((iou >= 0.5).astype(np.float64)),
        "recall_75": mean((iou >= 0.75).astype(np.float64)),
        "static_prior_mean_iou": mean(prior),
        "per_anatomy": per_anatomy,
    }
