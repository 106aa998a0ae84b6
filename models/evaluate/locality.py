"""Does a region's vector hang on the region? Another patient's film is pasted around it, then into it.

B images.
"""

from collections.abc import Sequence

import numpy as np
import torch

from models.data.tensors import Progress, read_pixels
from models.evaluate.altered import pasted_inside, pasted_outside
from models.evaluate.analysed import LUNGS, Analysed, Floats
from models.evaluate.cases import Cases, Ints, join, make_cases, no_cases
from models.evaluate.controls import embed_at
from models.evaluate.retrieval import forbidden, measures, rank
from models.preprocess import prepare
from models.region_model import RegionModel
from regionmir.core.anatomy import anatomy_by_name

ZONES = tuple(
    anatomy_by_name(f"{side} {zone} lung zone").key - 1
    for side in ("right", "left")
    for zone in ("upper", "mid", "lower")
)
MEASURES = ("outside_similarity", "inside_similarity", "outside_p_at_5_drop")


def locality_cases(
    model: RegionModel,
    database: Analysed,
    queries: Analysed,
    limits: tuple[int, int],
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Cases:
    """Return a case per lung and lung zone of some query films, each region altered alone.

    `outside_similarity`: cosine of the vector with another patient's film pasted everywhere outside the box to the
    original one; `inside_similarity`: with that film pasted into the box; `outside_p_at_5_drop`: P@5 (same finding,
    untouched `database`) of the original minus that of the region with the other film around it, where the film has
    a finding. `limits` are the numbers of films for lungs and for zones. The model must have found the region.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(queries))
    jobs = [(int(i), slot) for i in order[: limits[0]] for slot in LUNGS if queries.found[i, slot]]
    jobs += [(int(i), slot) for i in order[: limits[1]] for slot in ZONES if queries.found[i, slot]]
    if len(np.unique(queries.patients)) < 2 or not jobs:
        return no_cases(*MEASURES)
    others = {i: _other(queries, i, rng) for i in sorted({i for i, _ in jobs})}
    parts, barred = [], forbidden(queries, database)
    for slot in (*LUNGS, *ZONES):
        rows = np.array(sorted(i for i, s in jobs if s == slot), dtype=np.int64)
        if len(rows):
            outside, inside = _pasted(model, queries, rows, slot, others)
            values = _similarities(queries.vectors[rows, slot], outside, inside)
            values["outside_p_at_5_drop"] = _drop(database, queries, rows, slot, outside, barred)
            parts.append(make_cases(queries.patients, rows, np.full(len(rows), slot), values))
        if progress:
            progress(sum(len(p) for p in parts), len(jobs))
    return join(parts)


def _other(queries: Analysed, row: int, rng: np.random.Generator) -> int:
    return int(rng.choice(np.flatnonzero(queries.patients != queries.patients[row])))


def _pasted(
    model: RegionModel, queries: Analysed, rows: Ints, slot: int, others: dict[int, int]
) -> tuple[Floats, Floats]:
    """Return the vectors (B, D) with another film outside the box, and with it inside."""
    found: tuple[list[Floats], list[Floats]] = ([], [])
    for start in range(0, len(rows), 8):
        part = rows[start : start + 8]
        boxes = queries.input_boxes[part, slot]
        own, other = (_prepared(model, queries, chosen) for chosen in (part, [others[int(i)] for i in part]))
        for way, vectors in zip((pasted_outside, pasted_inside), found, strict=True):
            images = [way(a, b, box) for a, b, box in zip(own, other, boxes, strict=True)]
            vectors.append(embed_at(model, images, boxes[:, None], (slot,))[:, 0])
    return np.concatenate(found[0]), np.concatenate(found[1])


def _prepared(model: RegionModel, queries: Analysed, rows: Sequence[int] | Ints) -> list[torch.Tensor]:
    return [prepare(read_pixels(queries.films[i]), model.side).values for i in rows]


def _similarities(
    original: Floats, outside: Floats, inside: Floats
) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.floating]]]:
    return {
        "outside_similarity": (original * outside).sum(axis=1),
        "inside_similarity": (original * inside).sum(axis=1),
    }


def _drop(
    database: Analysed,
    queries: Analysed,
    rows: Ints,
    slot: int,
    outside: Floats,
    barred: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    drop = np.full(len(rows), np.nan)
    asked = np.flatnonzero(queries.findings[rows] != "")
    m = np.flatnonzero(database.found[:, slot] & (database.findings != ""))
    if len(asked) and len(m):
        labels, base_labels = queries.findings[rows][asked], database.findings[m]
        base, shut = database.vectors[m, slot], barred[np.ix_(rows[asked], m)]
        before, after = (
            measures(ranked.relevant(labels, base_labels), ranked.permitted)["p_at_5"]
            for ranked in (rank(v[asked], base, shut) for v in (queries.vectors[rows, slot], outside))
        )
        drop[asked] = np.where((~shut).any(axis=1), before - after, np.nan)
    return drop
