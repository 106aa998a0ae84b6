"""Does a vector know its anatomy? Named at a box on the shared map, from a crop alone, and from a box alone.

Shape letters: N films, A anatomies (all 29), R boxes, D length of a vector.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from models.data.tensors import Progress, read_pixels
from models.evaluate.altered import alone, as_input
from models.evaluate.analysed import BATCH, Analysed, Floats, in_input_pixels, prepared_films
from models.evaluate.cases import Cases, Ints, make_cases, no_cases
from models.network import SLOTS
from models.preprocess import prepare, stack
from models.region_model import RegionModel

VOTES = 5
"""Nearest neighbours that name an anatomy by majority."""


def named_at_boxes(
    model: RegionModel, queries: Analysed, progress: Progress | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the anatomies (as slots, (N, A) each) that the embedder names at the true and at the found boxes.

    -1 where there is no such box. The features are those of the whole film, pooled at the box.
    """
    true, found = [], []
    for start, prepared in zip(
        range(0, len(queries), BATCH), prepared_films(queries.films, model.side, progress), strict=True
    ):
        part = slice(start, start + len(prepared))
        drawn = np.stack(
            [in_input_pixels(f, queries.true_boxes[start + i], model.side) for i, f in enumerate(queries.films[part])]
        )
        boxes = np.concatenate([drawn, queries.input_boxes[part]], axis=1)
        unknown = np.isnan(boxes[..., 0])
        boxes[unknown] = (0, 0, model.side, model.side)
        named = named_anatomies(model, model.describe(stack(prepared), torch.from_numpy(boxes)).anatomy)
        named[unknown] = -1
        true.append(named[:, :SLOTS])
        found.append(named[:, SLOTS:])
    return np.concatenate(true), np.concatenate(found)


def named_anatomies(model: RegionModel, anatomy: torch.Tensor) -> npt.NDArray[np.int64]:
    """Return the slots (...) that the embedder names for anatomy parts (..., D_anatomy), of those switched on."""
    with torch.inference_mode():
        logits = model.network.embedder.classify(anatomy.to(model.device))[..., model.slots]
        found: npt.NDArray[np.int64] = model.slots[logits.argmax(dim=-1)].cpu().numpy()
    return found


def roi_cases(queries: Analysed, true: npt.NDArray[np.int64], found: npt.NDArray[np.int64]) -> Cases:
    """Return a case per true box: is the right anatomy named there, and at the box found in its place?"""
    rows, slots = np.nonzero(queries.known)
    detected = np.where(queries.found[rows, slots], found[rows, slots] == slots, np.nan)
    values = {"accuracy_roi": true[rows, slots] == slots, "accuracy_roi_detected": detected}
    return make_cases(queries.patients, rows, slots, values)


def box_only_cases(database: Analysed, queries: Analysed) -> Cases:
    """Return a case per true box: do its coordinates alone, by the nearest boxes of the database, name its anatomy?"""
    base_rows, base_slots = np.nonzero(database.known)
    rows, slots = np.nonzero(queries.known)
    if not len(rows) or not len(base_rows):
        return no_cases("accuracy_box_only", "accuracy_box_only_detected")
    known = database.true_boxes[base_rows, base_slots]
    right = _voted(queries.true_boxes[rows, slots], known, base_slots) == slots
    boxes = queries.boxes[rows, slots]
    seen = ~np.isnan(boxes[:, 0])
    detected = np.full(len(rows), np.nan)
    detected[seen] = _voted(boxes[seen], known, base_slots) == slots[seen]
    values = {"accuracy_box_only": right, "accuracy_box_only_detected": detected}
    return make_cases(queries.patients, rows, slots, values)


def _voted(asked: Floats, known: Floats, labels: Ints) -> Ints:
    """Return what most of the nearest of `known` (M, 4) are, for each of `asked` (Q, 4)."""
    half = (known**2).sum(axis=1, keepdims=True) / 2
    lifted = np.concatenate([known, -half], axis=1)
    query = np.concatenate([asked, np.ones((len(asked), 1), dtype=np.float32)], axis=1)
    return vote(query, lifted, labels)


def vote(query: Floats, base: Floats, labels: Ints, votes: int = VOTES) -> Ints:
    """Return for each of `query` (Q, D) the label that most of its nearest `base` (M, D) have.

    Nearest is the largest dot product; of labels with equally many votes, the nearest one wins.
    """
    count, named = min(votes, len(base)), []
    for start in range(0, len(query), 512):
        closeness = query[start : start + 512] @ base.T
        top = np.argpartition(-closeness, count - 1, axis=1)[:, :count]
        order = np.argsort(-np.take_along_axis(closeness, top, axis=1), axis=1, kind="stable")
        near = labels[np.take_along_axis(top, order, axis=1)]
        counts = (near[:, :, None] == near[:, None, :]).sum(axis=2)
        named.append(near[np.arange(len(near)), counts.argmax(axis=1)])
    return np.concatenate(named) if named else np.zeros(0, dtype=np.int64)


def crop_cases(
    model: RegionModel, database: Analysed, queries: Analysed, limit: int, progress: Progress | None = None
) -> Cases:
    """Return a case per chosen true box: does the crop alone, by its nearest crops, name its anatomy?

    A crop is the box cut out of the film and laid alone in the middle of a black one: it tells neither where it lay nor
    what was around it. Its vector is the anatomy part of its embedding there. At most `limit` films of the database and
    of the queries per anatomy, evenly spread.
    """
    chosen = [_spread(films, limit) for films in (database, queries)]
    total, done = sum(len(rows) for rows, _ in chosen), 0
    vectors: list[Floats] = []
    for films, (rows, slots) in zip((database, queries), chosen, strict=True):
        parts = []
        for start in range(0, len(rows), BATCH):
            parts.append(_crop_vectors(model, films, rows[start : start + BATCH], slots[start : start + BATCH]))
            done += len(parts[-1])
            if progress:
                progress(done, total)
        vectors.append(np.concatenate(parts) if parts else np.zeros((0, 1), dtype=np.float32))
    (_, base_slots), (rows, slots) = chosen
    if not len(base_slots) or not len(slots):
        return no_cases("accuracy_crop")
    right = vote(vectors[1], vectors[0], base_slots) == slots
    return make_cases(queries.patients, rows, slots, {"accuracy_crop": right})


def _spread(films: Analysed, limit: int) -> tuple[Ints, Ints]:
    """Return films and slots of at most `limit` true boxes per anatomy, in the order of the films."""
    rows, slots = [], []
    for slot in range(SLOTS):
        having = np.flatnonzero(films.known[:, slot])
        picked = having[np.unique(np.linspace(0, len(having) - 1, min(limit, len(having))).astype(np.int64))]
        rows.append(picked)
        slots.append(np.full(len(picked), slot))
    film, slot_of = np.concatenate(rows), np.concatenate(slots)
    order = np.argsort(film, kind="stable")
    return film[order], slot_of[order]


def _crop_vectors(
    model: RegionModel, films: Analysed, rows: Sequence[int] | Ints, slots: Sequence[int] | Ints
) -> Floats:
    images, boxes = [], []
    for row, slot in zip(rows, slots, strict=True):
        film = films.films[row]
        box = in_input_pixels(film, films.true_boxes[row, slot][None], model.side)[0]
        image, moved = alone(prepare(read_pixels(film), model.side).values, box)
        images.append(image)
        boxes.append(moved)
    where = torch.from_numpy(np.stack(boxes))[:, None]
    vectors: Floats = model.describe(as_input(images), where).anatomy[:, 0].numpy()
    return vectors
