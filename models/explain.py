"""Why two regions are alike: which parts of each one raise their similarity.

For a pair, the gradient of the similarity with respect to what the embedder sees in each cell of a region, times what
it sees there (Zhu et al., "Visual Explanation for Deep Metric Learning", 2019). One small backward pass, no training.
Shape letters: P cells along a side of a region, D length of a vector.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.preprocess import prepare, stack
from models.region_model import RegionModel
from models.square import Image
from regionmir.core.anatomy import Anatomy
from regionmir.core.geometry import Box

Cells = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a pair is alike; maps (P, P), rows from the top, in -1..1: 1 is the part that raises similarity most."""

    similarity: float
    query: Cells
    hit: Cells


def explain_pair(model: RegionModel, query: tuple[Image, Box], hit: tuple[Image, Box], anatomy: Anatomy) -> Explanation:
    """Return why the regions `query` and `hit`, boxes in pixels of display values (H, W), are alike as `anatomy`.

    Raises `ValueError` where an array is no image (see `square.square`).
    """
    cells = [_cells(model, image, box).requires_grad_() for image, box in (query, hit)]
    slot = torch.tensor([anatomy.key - 1], device=model.device)
    with torch.enable_grad():
        one, other = (_vector(model, seen, slot) for seen in cells)
        similarity = (one * other).sum()
        gradients = torch.autograd.grad(similarity, cells)
    maps = [_map(seen, gradient) for seen, gradient in zip(cells, gradients, strict=True)]
    return Explanation(float(similarity.detach()), *maps)


def _cells(model: RegionModel, image: Image, box: Box) -> Tensor:
    made = prepare(image, model.side)
    wanted = torch.tensor([[made.letterbox.to_input(box).as_tuple()]], device=model.device)
    with torch.no_grad():
        features = model.network.features(stack([made]).to(model.device))
        return model.network.embedder.cells(features.embed, wanted)


def _vector(model: RegionModel, cells: Tensor, slot: Tensor) -> Tensor:
    embedder = model.network.embedder
    return embedder.join(*embedder.summarise(cells), slot[None]).vector[0, 0]


def _map(cells: Tensor, gradient: Tensor) -> Cells:
    raised = (cells.detach() * gradient)[0, 0].sum(dim=0)  # (P, P)
    scaled: Cells = (raised / raised.abs().max().clamp(min=1e-12)).cpu().numpy()
    return scaled
