"""Within-anatomy contrast: what makes the same region of two patients alike.

Shape letters: A anatomies, Q views, D length of a part of a vector.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.train.losses import likeness, spread, weighted_contrast


@dataclass(frozen=True, slots=True)
class Regions:
    """Vectors of many views' regions, and whose they are."""

    finding_part: Tensor
    """(A, Q, D_finding)"""
    look: Tensor
    """(A, Q, D_look)"""
    known: Tensor
    """(A, Q) bool"""
    film: Tensor
    """(Q,) int64"""
    patient: Tensor
    """(Q,) int64"""
    finding: Tensor
    """(Q,) int64, -1 where unknown"""


FINDING_TEMPERATURE = 0.2
"""Of the contrast of findings: labels of whole films are noisy, and sharper contrast only makes the network sure."""


def within_anatomy_losses(regions: Regions, pneumonia: Tensor, temperature: float) -> dict[str, Tensor]:
    """Return the losses that compare regions of one anatomy with each other.

    Of the finding part, `finding_contrast`: other patients with the same finding are alike, where both are labelled.
    Of the look, `same_region`: two views of one film are alike, other patients' are not; and `spread`: other patients'
    do not crowd into one point. Of both, `alignment`: two views of one film are the same, more than contrast with the
    few others of a batch asks for. Only this batch is compared: from remembered regions, which do not move, a network
    runs away along one direction instead of spreading out.
    """
    finding_cosines = regions.finding_part @ regions.finding_part.transpose(-1, -2)  # (A, Q, Q)
    look_cosines = regions.look @ regions.look.transpose(-1, -2)  # (A, Q, Q)
    look_logits = look_cosines / temperature
    comparable = regions.known[:, :, None] & regions.known[:, None, :]
    other_patient = regions.patient[:, None] != regions.patient[None]  # (Q, Q)
    itself = torch.eye(len(regions.film), dtype=torch.bool, device=regions.film.device)
    same_film = (regions.film[:, None] == regions.film[None]) & ~itself
    alike = likeness(regions.finding, regions.finding, pneumonia)
    labelled = (regions.finding >= 0)[:, None] & (regions.finding >= 0)[None]
    pairs = comparable & same_film
    return {
        "finding_contrast": _contrast(
            finding_cosines / FINDING_TEMPERATURE, alike, comparable & other_patient & labelled
        ),
        "alignment": (2 - finding_cosines - look_cosines)[pairs].sum() / pairs.sum().clamp(min=1),
        "same_region": _contrast(look_logits, same_film.float(), comparable & (other_patient | same_film)),
        "spread": spread(look_logits, comparable & other_patient, temperature),
    }


def _contrast(logits: Tensor, positive: Tensor, allowed: Tensor) -> Tensor:
    some = allowed.any(dim=-1)
    return weighted_contrast(logits[some], positive.expand_as(logits)[some], allowed[some])
