"""What within-anatomy hits reach without looking into the region: boxes alone, thumbnails, the lungs blanked out.

The controls that blank the lungs need another pass of the model, so they use a sample of the database; the unaltered
vectors are judged on the same sample (`lungs`), and the difference is the lift that counts.
"""

from dataclasses import replace

import numpy as np
import torch

from models.data.tensors import Progress
from models.evaluate.altered import as_input, blanked
from models.evaluate.analysed import BATCH, LUNGS, Analysed, Floats, prepared_films
from models.evaluate.cases import Cases
from models.evaluate.retrieval import (
    Array,
    Relabel,
    box_only,
    box_only_queries,
    finding_cases,
    normal_or_pneumonia,
    three_classes,
)
from models.region_model import RegionModel

RELABELS: dict[str, Relabel] = {"three": three_classes, "binary": normal_or_pneumonia}


def with_lungs_blanked(model: RegionModel, films: Analysed, progress: Progress | None = None) -> Analysed:
    """Return `films` with the vectors that both lungs have at the same boxes once these are filled with grey."""
    vectors = np.zeros_like(films.vectors)
    start = 0
    for batch in prepared_films(films.films, model.side, progress):
        boxes = films.input_boxes[start : start + len(batch), LUNGS, :]
        images = [blanked(p.values, p.letterbox, b) for p, b in zip(batch, boxes, strict=True)]
        vectors[start : start + len(batch), LUNGS, :] = embed_at(model, images, boxes, LUNGS)
        start += len(batch)
    return replace(films, vectors=vectors)


def embed_at(model: RegionModel, images: list[torch.Tensor], boxes: Floats, slots: tuple[int, ...]) -> Floats:
    """Return the vectors (B, R, D) of `boxes` (B, R, 4) in prepared `images` (S, S), meant to be `slots` (R,).

    A box that is NaN has a vector that means nothing.
    """
    where, named = torch.from_numpy(np.nan_to_num(boxes)), torch.tensor(slots)
    parts = []
    for start in range(0, len(images), BATCH):
        part = slice(start, start + BATCH)
        parts.append(model.describe(as_input(images[part]), where[part], named).vector.numpy())
    vectors: Floats = np.concatenate(parts)
    return vectors


def pixel_controls(database: Analysed, queries: Analysed) -> dict[str, dict[str, Cases]]:
    """Return the cases of the controls that need no model: boxes alone, and the whole film at 32 x 32 pixels."""
    return {
        "box_only": finding_cases(database, queries, RELABELS, box_only, box_only_queries),
        "thumbnail": finding_cases(database, queries, RELABELS, lambda films, _: films.thumbnails),
    }


def lung_controls(
    model: RegionModel, database: Analysed, queries: Analysed, progress: Progress | None = None
) -> dict[str, dict[str, Cases]]:
    """Return the cases of both lungs on this `database`: unaltered, blanked out, and blanked out as pixels alone.

    The unaltered ones have one more measure, `lift_over_region_blanked`: P@5 minus that of the blanked lung.
    """
    total = len(database) + len(queries)

    def told(before: int) -> Progress:
        return lambda done, _: progress(before + done, total) if progress else None

    without = [with_lungs_blanked(model, f, told(n)) for f, n in ((database, 0), (queries, len(database)))]
    plain = finding_cases(database, queries, RELABELS, slots=LUNGS)
    blank = finding_cases(without[0], without[1], RELABELS, slots=LUNGS)
    pixels = finding_cases(database, queries, RELABELS, _blanked_pixels, slots=LUNGS)
    for name, cases in plain.items():  # the same rows in the same order: both are of the boxes found
        lift = cases.values["p_at_5"] - blank[name].values["p_at_5"]
        plain[name] = replace(cases, values={**cases.values, "lift_over_region_blanked": lift})
    return {"lungs": plain, "region_blanked": blank, "region_blanked_pixels": pixels}


def _blanked_pixels(films: Analysed, _slot: int) -> Array:
    return films.blanked_thumbnails
