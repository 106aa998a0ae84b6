"""The model as the rest of RegionMIR uses it: images in, regions with boxes, scores and unit vectors out.

Shape letters: B images, A anatomies (all 29), R boxes, D length of a vector.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.acceptance import Acceptance
from models.embedder import Embedding
from models.network import SLOTS, RegionNetwork
from models.preprocess import Prepared, inverted, prepare, stack
from models.square import Image, Square
from regionmir.core.anatomy import Anatomy
from regionmir.core.errors import InvalidBox
from regionmir.core.geometry import Box
from regionmir.core.records import DetectedRegion, EmbeddedRegion, GenerationInfo

if TYPE_CHECKING:
    from models.explain import Explanation

MAX_BATCH = 8
"""Images in one pass: of more, the largest maps take longer to come from the system than to compute."""
NOT_FRONTAL, INVERTED, BLANK = "not a frontal chest radiograph", "black and white look exchanged", "blank image"
"""Reasons for which a film is not accepted."""


@dataclass(frozen=True, slots=True)
class ImageAnalysis:
    """What the model says of one image; boxes in the pixels of the array that was given."""

    accepted: bool
    frontal_score: float
    """0..1: how sure the model is that this is an upright frontal chest radiograph."""
    reason: str
    """Why it was not accepted; empty where it was."""
    regions: tuple[EmbeddedRegion, ...]
    """In the order of the anatomies; empty where the image was not accepted."""


@dataclass(frozen=True, slots=True)
class Found:
    """One forward pass over prepared images, on the CPU; boxes (B, A, 4) in input pixels."""

    boxes: Tensor
    edge_error: Tensor
    """(B, A, 4): expected error of each edge in input pixels"""
    presence: Tensor
    """(B, A), 0..1"""
    frontal: Tensor
    """(B,), 0..1"""
    pooled: Tensor
    """(B, F): the film as a whole"""
    vectors: Tensor
    """(B, A, D); zeros where the anatomy is switched off"""


class RegionModel:
    """A loaded model. Its answers do not depend on what else is in the batch."""

    def __init__(
        self,
        network: RegionNetwork,
        info: GenerationInfo,
        acceptance: Acceptance,
        *,
        device: str = "cpu",
        min_presence: float = 0.5,
        bf16: bool | None = None,
    ) -> None:
        """Wrap `network`, switched to `info.anatomies`; regions below `min_presence` are left out.

        `bf16`: compute features in bfloat16; None does so where the processor or GPU has instructions for it.
        """
        self.network: RegionNetwork = network.eval().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.info = info
        self.acceptance = acceptance
        self.device = device
        self.bf16 = has_bf16(device) if bf16 is None else bf16
        self.min_presence = min_presence
        self.side = network.config.side
        self.slots = torch.tensor([a.key - 1 for a in info.anatomies], device=device)

    def analyse(self, images: Sequence[Image | Square]) -> list[ImageAnalysis]:
        """Return one analysis per image, in their order: display values (H, W) in [0, 1], or a square of `side`.

        Boxes of a square are in pixels of the image that it was made from. Raises `ValueError` where an array is no
        image (see `square.square`).
        """
        found: list[ImageAnalysis] = []
        for start in range(0, len(images), MAX_BATCH):
            prepared = [self._prepared(image) for image in images[start : start + MAX_BATCH]]
            passed = self.forward(stack(prepared))
            found += self._inverted_named(
                prepared, [self._analysis(passed, i, made) for i, made in enumerate(prepared)]
            )
        return found

    def _prepared(self, image: Image | Square) -> Prepared:
        return Prepared.of(image) if isinstance(image, Square) else prepare(image, self.side)

    def _inverted_named(self, prepared: Sequence[Prepared], found: list[ImageAnalysis]) -> list[ImageAnalysis]:
        """Return `found`, where films would be accepted with black and white exchanged with that as the reason."""
        refused = [i for i, one in enumerate(found) if one.reason == NOT_FRONTAL]
        if not refused:
            return found
        batch = stack([inverted(prepared[i]) for i in refused])
        with self._inferring():
            judged, pooled = self.network.judge(batch.to(self.device).contiguous(memory_format=torch.channels_last))
        frontal, pooled = judged.sigmoid().cpu(), pooled.float().cpu()
        for n, i in enumerate(refused):
            if self.acceptance.score(frontal[n], pooled[n]) >= self.acceptance.threshold:
                found[i] = replace(found[i], reason=INVERTED)
        return found

    def embed_boxes(
        self, image: Image, boxes: Sequence[Box], anatomies: Sequence[Anatomy] | None = None
    ) -> npt.NDArray[np.float32]:
        """Return the unit vectors (R, D) of free `boxes` in pixels of `image`, whatever they show.

        `anatomies` (R,) says what each box is meant to be: what all regions of it share is taken off its vector. None
        lets the model name it, which compares with regions only as far as it names well.
        """
        if not boxes:
            return np.zeros((0, self.info.dim), dtype=np.float32)
        made = prepare(image, self.side)
        wanted = torch.tensor([[made.letterbox.to_input(b).as_tuple() for b in boxes]])
        slots = None if anatomies is None else torch.tensor([a.key - 1 for a in anatomies])
        found: npt.NDArray[np.float32] = self.describe(stack([made]), wanted, slots).vector[0].numpy()
        return found

    def explain(self, query: tuple[Image, Box], hit: tuple[Image, Box], anatomy: Anatomy) -> "Explanation":
        """Return why two regions are alike (`models.explain.explain_pair`)."""
        from models.explain import explain_pair

        return explain_pair(self, query, hit, anatomy)

    def describe(self, batch: Tensor, boxes: Tensor, slots: Tensor | None = None) -> Embedding:
        """Return the vectors, on the CPU, of `boxes` (B, R, 4) in input pixels of prepared images (B, 1, S, S).

        `slots` (R,) says which anatomy each box is meant to be; None lets the embedder name it.
        """
        named = None if slots is None else slots.to(self.device)
        with self._inferring():
            features = self.network.features(batch.to(self.device).contiguous(memory_format=torch.channels_last))
            embedding = self.network.embed(features, boxes.to(self.device), named)
            return Embedding(*(part.float().cpu() for part in embedding))

    def forward(self, batch: Tensor) -> Found:
        """Return what the network finds in prepared images (B, 1, S, S), in every slot that is switched on."""
        with self._inferring():
            features = self.network.features(batch.to(self.device).contiguous(memory_format=torch.channels_last))
            detection = self.network.detect(features)
            boxes = detection.boxes * self.side
            vectors = boxes.new_zeros(len(batch), SLOTS, self.info.dim)
            vectors[:, self.slots] = self.network.embed(features, boxes[:, self.slots], self.slots).vector.float()
            return Found(
                boxes.cpu(),
                (detection.edge_error * self.side).cpu(),
                detection.presence.sigmoid().cpu(),
                detection.frontal.sigmoid().cpu(),
                features.pooled.float().cpu(),
                vectors.cpu(),
            )

    @contextmanager
    def _inferring(self) -> Iterator[None]:
        kind = torch.device(self.device).type
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=self.bf16):
            yield

    def _analysis(self, found: Found, i: int, made: Prepared) -> ImageAnalysis:
        if made.blank:
            return ImageAnalysis(False, 0.0, BLANK, ())
        score = self.acceptance.score(found.frontal[i], found.pooled[i])
        regions = tuple(self._regions(found, i, made))
        if score < self.acceptance.threshold or not regions:
            return ImageAnalysis(False, score, NOT_FRONTAL, ())
        return ImageAnalysis(True, score, "", regions)

    def _regions(self, found: Found, i: int, made: Prepared) -> Iterator[EmbeddedRegion]:
        height = made.letterbox.height / made.letterbox.scale_y
        width = made.letterbox.width / made.letterbox.scale_x
        presence, boxes, scores = (of[i].tolist() for of in (found.presence, found.boxes, region_scores(found)))
        vectors = found.vectors[i].numpy()
        for anatomy in self.info.anatomies:
            slot = anatomy.key - 1
            if presence[slot] < self.min_presence:
                continue
            try:
                box = made.letterbox.to_image(Box(*boxes[slot])).clipped(width, height)
            except InvalidBox:  # wholly in the letterbox's margin
                continue
            yield EmbeddedRegion(DetectedRegion(anatomy, box, scores[slot]), vectors[slot])


def has_bf16(device: str) -> bool:
    """Return whether `device` (torch's name) computes in bfloat16 by itself: where it must not, it is slower so."""
    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def region_scores(found: Found) -> Tensor:
    """Return scores (B, A) in 0..1: presence times the overlap that the expected errors of the edges leave."""
    extent = found.boxes[..., 2:] - found.boxes[..., :2]
    return found.presence * overlap(found.edge_error, extent)


def overlap(error: Tensor, extent: Tensor) -> Tensor:
    """Return the overlap (...) that edges off by `error` (..., 4) leave to a box of `extent` (..., 2)."""
    lost = (error[..., :2] + error[..., 2:]) / extent.clamp(min=1e-6)
    return (1 - lost / 2).clamp(min=0).prod(dim=-1)
