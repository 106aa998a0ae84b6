"""Vectors of the benchmark are spread as those that they were measured on."""

import numpy as np
import pytest

from tests.benchmarks.spectra import fitted, sampled, spectra


def test_sampled_vectors_have_the_spectrum_that_was_fitted() -> None:
    rng = np.random.default_rng(1)
    real = rng.normal(size=(4000, 32)) * np.geomspace(1, 0.02, 32) + 0.8
    real /= np.linalg.norm(real, axis=1, keepdims=True)
    spectrum = fitted(real)

    again = fitted(spectrum.sample(4000, seed=2))

    assert again.participation_ratio == pytest.approx(spectrum.participation_ratio, rel=0.1)
    assert again.variances.sum() == pytest.approx(spectrum.variances.sum(), rel=0.1)
    assert np.linalg.norm(again.mean) == pytest.approx(np.linalg.norm(spectrum.mean), rel=0.05)


def test_the_committed_spectra_are_of_the_shipped_models_anatomies_and_width() -> None:
    anatomies, vectors = sampled(3)
    assert len(anatomies) == 20
    assert vectors.shape == (3, 20, 128)
    assert np.linalg.norm(vectors, axis=2) == pytest.approx(1, abs=1e-5)
    assert all(1 < spectrum.participation_ratio < 128 for spectrum in spectra().values())
