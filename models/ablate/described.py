"""Films described at their true boxes, so that variants are compared by their vectors and not by what they find.

Shape letters: N films, A anatomies (all 29), D length of a vector.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.data.films import patient_key
from models.data.tensors import FilmTensors
from models.evaluate.analysed import Analysed, Floats
from models.evaluate.retrieval import box_only, box_only_queries
from models.network import SLOTS, RegionNetwork

_BATCH = 16


@dataclass(frozen=True, slots=True)
class Described:
    """Films twice: with the vectors that are searched within an anatomy, and with vectors that were not told it."""

    told: Analysed
    free: Analysed


def describe(network: RegionNetwork, films: FilmTensors, device: torch.device, bf16: bool) -> Described:
    """Return what `network` says of the true boxes of `films`."""
    slots = films.known.any(dim=0).nonzero().squeeze(-1)
    told, free = np.zeros((2, len(films), SLOTS, network.config.dim), dtype=np.float32)
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        for rows in torch.split(torch.arange(len(films)), _BATCH):
            images = films.images[rows, None].to(device).float() / 255
            features = network.features(images.contiguous(memory_format=torch.channels_last))
            found = network.embed(features, films.boxes[rows][:, slots].to(device), slots.to(device))
            told[np.ix_(rows.numpy(), slots.numpy())] = found.vector.float().cpu().numpy()
            share = network.config.anatomy_share
            parts = share**0.5 * found.anatomy, (1 - share) ** 0.5 * F.normalize(found.uncentred, dim=-1)
            free[np.ix_(rows.numpy(), slots.numpy())] = torch.cat(parts, dim=-1).float().cpu().numpy()
    return Described(_analysed(films, told), _analysed(films, free))


def by_boxes(films: FilmTensors, *, asking: bool) -> Described:
    """Return `films` described by the corners of their boxes alone; the side that is `asking` is described its way."""
    plain = _analysed(films, np.zeros((len(films), SLOTS, 1), dtype=np.float32))
    features = box_only_queries if asking else box_only
    found = replace(plain, vectors=np.stack([features(plain, slot) for slot in range(SLOTS)], axis=1))
    return Described(found, found)


def _analysed(films: FilmTensors, vectors: Floats) -> Analysed:
    boxes = _fractions(films).numpy()
    boxes[~films.known.numpy()] = np.nan
    nothing = np.zeros((len(films), 0), dtype=np.float32)
    return Analysed(
        films=films.films,
        patients=np.array([patient_key(f.patient) for f in films.films]),
        findings=np.array([f.finding for f in films.films]),
        groups=np.array([f.age_group for f in films.films]),
        pixel_sums=np.array(list(_pixel_sums(films.images))),
        true_boxes=boxes,
        boxes=boxes,
        input_boxes=films.boxes.numpy(),
        scores=films.known.numpy().astype(np.float32),
        vectors=vectors,
        frontal=np.ones(len(films), dtype=np.float32),
        accepted=np.ones(len(films), dtype=np.bool_),
        thumbnails=nothing,
        blanked_thumbnails=nothing,
    )


def _fractions(films: FilmTensors) -> Tensor:
    """Return the boxes (N, A, 4) as fractions of their films' width and height."""
    low, high = films.inner[:, None, :2], films.inner[:, None, 2:]
    return (films.boxes - low.repeat(1, 1, 2)) / (high - low).repeat(1, 1, 2)


def _pixel_sums(images: Tensor) -> Iterator[str]:
    return (hashlib.sha256(image.numpy().tobytes()).hexdigest()[:24] for image in images)
