"""Bends along both axes, and back."""

import torch

from models.train.bend import bent, random_bends, unbent


def grid(count: int) -> torch.Tensor:
    """Return points from end to end of both axes (count, 101, 2)."""
    return torch.linspace(-1, 1, 101)[None, :, None].expand(count, -1, 2)


def test_ends_stay_and_no_two_points_change_places() -> None:
    bends = random_bends(torch.Generator().manual_seed(0), 50)
    moved = bent(grid(50), bends)
    torch.testing.assert_close(moved[:, [0, -1]], grid(50)[:, [0, -1]], atol=1e-6, rtol=0)
    assert float((moved[:, 1:] - moved[:, :-1]).min()) > 0
    assert float((moved - grid(50)).abs().max()) > 0.05


def test_what_is_bent_back_lies_where_it_lay() -> None:
    bends = random_bends(torch.Generator().manual_seed(1), 50)
    torch.testing.assert_close(unbent(bent(grid(50), bends), bends), grid(50), atol=1e-5, rtol=0)


def test_no_strength_bends_nothing() -> None:
    bends = random_bends(torch.Generator().manual_seed(0), 3, strength=0.0)
    assert torch.equal(bent(grid(3), bends), grid(3))
