"""How well regions are found: overlap with the true boxes, beside what a mean box reaches that looks at nothing."""

import numpy as np
import numpy.typing as npt
import torch

from models.data.tensors import FilmTensors, Progress, read_pixels
from models.evaluate.analysed import BATCH, Analysed, Floats
from models.evaluate.cases import Cases, make_cases
from models.network import RegionNetwork
from models.preprocess import prepare, stack
from models.region_model import RegionModel
from models.square import Image

CUT = 0.45
"""Share of a film that is cut away to see whether what was there is still reported."""


def overlaps(a: Floats, b: Floats) -> npt.NDArray[np.float64]:
    """Return intersection over union of boxes (..., 4); 0 where one is NaN."""
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    shared = np.clip(high - low, 0, None).prod(axis=-1)
    areas = sum((t[..., 2:] - t[..., :2]).prod(axis=-1) for t in (a, b))
    found: npt.NDArray[np.float64] = np.nan_to_num(shared / (areas - shared))
    return found


def found_overlaps(
    network: RegionNetwork, films: FilmTensors, device: torch.device, *, bf16: bool
) -> npt.NDArray[np.float64]:
    """Return the overlap (N, A) of the boxes that `network` finds in `films` with the true ones."""
    found = []
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        for images in torch.split(films.images, BATCH):
            seen = images[:, None].to(device).float().contiguous(memory_format=torch.channels_last) / 255
            found.append(network.detect(network.features(seen)).boxes.float().cpu())
    return overlaps((films.boxes / network.config.side).numpy(), torch.cat(found).numpy())


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


def detection_cases(database: Analysed, queries: Analysed) -> Cases:
    """Return a case per true box of `queries`: its overlap with the box found, 0 where it was not found.

    A refused film counts like any other: its boxes are judged as the detector gives them.
    """
    rows, slots = np.nonzero(queries.known)
    iou = overlaps(queries.true_boxes, queries.boxes)[rows, slots]
    prior = overlaps(queries.true_boxes, static_prior(database, queries))[rows, slots]
    values = {"mean_iou": iou, "recall_50": iou >= 0.5, "recall_75": iou >= 0.75, "static_prior_mean_iou": prior}
    return make_cases(queries.patients, rows, slots, values)


def presence_cases(
    model: RegionModel, queries: Analysed, rows: npt.NDArray[np.int64], progress: Progress | None = None
) -> Cases:
    """Return a case per anatomy that is certainly not in view: whether the detector reports it all the same.

    Of each film in `rows` the lowest, highest, left or right 45 % (in turn) are cut away and the rest is prepared
    anew; an anatomy is out of view where its true box lies wholly in what was cut away.
    """
    enabled = np.isin(np.arange(queries.true_boxes.shape[1]), model.slots.cpu().numpy())
    film, slot, reported = [], [], []
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        images = [_cut(read_pixels(queries.films[i]), start + n) for n, i in enumerate(part)]
        presence = model.forward(stack([prepare(image, model.side) for image in images])).presence.numpy()
        for n, i in enumerate(part):
            gone = np.flatnonzero(_out_of_view(queries.true_boxes[i], start + n) & enabled)
            film += [int(i)] * len(gone)
            slot += gone.tolist()
            reported += (presence[n, gone] >= model.min_presence).tolist()
        if progress:
            progress(min(start + BATCH, len(rows)), len(rows))
    where = np.array(film, dtype=np.int64), np.array(slot, dtype=np.int64)
    return make_cases(queries.patients, *where, {"presence_fpr": reported})


def _cut(image: Image, turn: int) -> Image:
    """Return `image` (H, W) without its lowest, highest, right or left 45 %."""
    height, width = image.shape
    rows, columns = max(1, round(height * (1 - CUT))), max(1, round(width * (1 - CUT)))
    return (image[:rows], image[-rows:], image[:, :columns], image[:, -columns:])[turn % 4]


def _out_of_view(boxes: Floats, turn: int) -> npt.NDArray[np.bool_]:
    """Return which true boxes (A, 4) lie wholly in what `_cut` takes away; unknown ones do not."""
    x0, y0, x1, y1 = boxes.T
    gone: npt.NDArray[np.bool_] = (y0 >= 1 - CUT, y1 <= CUT, x0 >= 1 - CUT, x1 <= CUT)[turn % 4]
    return gone
