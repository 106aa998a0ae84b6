"""Within-anatomy contrast: what makes the same region of two patients alike, against remembered regions of others.

Shape letters: A anatomies, Q query views, M remembered views, K = Q + M, D length of a part of a vector.
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

    def followed_by(self, other: "Regions") -> "Regions":
        """Return both, `other` behind."""
        return Regions(
            torch.cat([self.finding_part, other.finding_part], dim=1),
            torch.cat([self.look, other.look], dim=1),
            torch.cat([self.known, other.known], dim=1),
            torch.cat([self.film, other.film]),
            torch.cat([self.patient, other.patient]),
            torch.cat([self.finding, other.finding]),
        )

    def first(self, count: int) -> "Regions":
        """Return the first `count` views, without their gradients."""
        return Regions(
            self.finding_part[:, :count].detach(),
            self.look[:, :count].detach(),
            self.known[:, :count],
            self.film[:count],
            self.patient[:count],
            self.finding[:count],
        )


def within_anatomy_losses(
    queries: Regions, memory: Regions | None, pneumonia: Tensor, temperature: float
) -> dict[str, Tensor]:
    """Return the losses that compare regions of one anatomy with each other and with remembered ones.

    Of the finding part, `finding_contrast`: other patients with the same finding are alike, where both are labelled.
    Of the look, `same_region`: two views of one film are alike, other patients' are not; and `spread`: other patients'
    do not crowd into one point.
    """
    keys = queries.followed_by(memory) if memory else queries
    finding_logits = queries.finding_part @ keys.finding_part.transpose(-1, -2) / temperature  # (A, Q, K)
    look_logits = queries.look @ keys.look.transpose(-1, -2) / temperature  # (A, Q, K)
    comparable = queries.known[:, :, None] & keys.known[:, None, :]
    other_patient = queries.patient[:, None] != keys.patient[None]  # (Q, K)
    same_film = queries.film[:, None] == keys.film[None]
    same_film[:, : len(queries.film)] &= ~torch.eye(len(queries.film), dtype=torch.bool)
    same_film[:, len(queries.film) :] = False
    alike = likeness(queries.finding, keys.finding, pneumonia)
    labelled = (queries.finding >= 0)[:, None] & (keys.finding >= 0)[None]
    return {
        "finding_contrast": _contrast(finding_logits, alike, comparable & other_patient & labelled),
        "same_region": _contrast(look_logits, same_film.float(), comparable & (other_patient | same_film)),
        "spread": spread(look_logits, comparable & other_patient, temperature),
    }


def _contrast(logits: Tensor, positive: Tensor, allowed: Tensor) -> Tensor:
    some = allowed.any(dim=-1)
    return weighted_contrast(logits[some], positive.expand_as(logits)[some], allowed[some])
