"""When a film is taken for an upright frontal chest radiograph: the network's own judgement, and likeness to training.

The judgement is learnt from generated negatives only. A film of a kind that was never shown may fool it, so the
film's features must also lie where those of training films lie: a Mahalanobis distance from their mean, under a
covariance that is shrunk towards its diagonal.
F is the length of the film's features.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

SHRINKAGE = 0.1
SLOPE = 10.0
"""How steeply likeness falls around `far`."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The rule of one model."""

    mean: Tensor
    """(F,)"""
    whitening: Tensor
    """(F, F): a map under which training films spread alike in every direction"""
    far: float
    """The distance at which likeness is one half."""
    threshold: float = 0.5

    def distance(self, pooled: Tensor) -> Tensor:
        """Return the distance (...) of features (..., F) from those of training films; typically 1."""
        return ((pooled - self.mean) @ self.whitening).square().mean(dim=-1).sqrt()

    def score(self, frontal: Tensor, pooled: Tensor) -> float:
        """Return 0..1 for one film: the smaller of the network's judgement and the likeness to training films."""
        likeness = torch.sigmoid(SLOPE * (self.far - self.distance(pooled)) / self.far)
        return float(torch.minimum(frontal, likeness))


def fit_acceptance(pooled: Tensor, far: float) -> Acceptance:
    """Return the rule learnt from features (N, F) of training films; `far` is in multiples of their 99.5 % distance."""
    mean = pooled.mean(dim=0)
    covariance = torch.cov(pooled.T)
    diagonal = torch.diag(covariance.diagonal() + 1e-6)
    values, vectors = torch.linalg.eigh((1 - SHRINKAGE) * covariance + SHRINKAGE * diagonal)
    whitening = vectors / values.clamp(min=1e-8).sqrt()
    first = Acceptance(mean, whitening, 1.0)
    return Acceptance(mean, whitening, far * float(torch.quantile(first.distance(pooled), 0.995)))
