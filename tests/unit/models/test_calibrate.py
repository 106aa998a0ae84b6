"""What is computed in closed form once the network has learnt."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.data.dataset import read_split
from models.data.tensors import load_films
from models.detector import TESTIMONY, Detector
from models.embedder import LOGIT_SCALE
from models.network import SLOTS, RegionNetwork
from models.train import settle
from models.train.calibrate import NEVER, agreement, calibrate, look_map, naming
from models.train.seen import Described, Seen
from tests.support.drawn import SMALL, TINY, drawn_folder

FILMS = 400


def seen(edges: Tensor, true_edges: Tensor, known: Tensor) -> Seen:
    """Return what a network might have said of the films."""
    nothing = torch.zeros(len(known), SLOTS, 1)
    said = torch.cat([edges, torch.zeros(*edges.shape[:2], TESTIMONY - 4)], dim=-1)
    return Seen(said, true_edges, known, nothing, nothing, known, torch.zeros(len(known), 1))


def described(appearance: Tensor) -> Described:
    return Described(appearance, torch.zeros(FILMS, SLOTS, 1), two_known())


def two_known() -> Tensor:
    known = torch.zeros(FILMS, SLOTS, dtype=torch.bool)
    known[:, :2] = True
    return known


def test_edges_whose_error_is_a_linear_function_of_others_are_corrected() -> None:
    rng = torch.Generator().manual_seed(0)
    true = torch.rand(FILMS, SLOTS, 4, generator=rng) * 0.2 + torch.tensor([0.2, 0.2, 0.6, 0.6])
    found = true.clone()
    found[:, 1] += 0.4 * (true[:, 0] - 0.5) + 0.03
    learnt = agreement((seen(found, true, two_known()),))
    detector = Detector(SLOTS, 16, 8)
    detector.agreement.copy_(learnt)
    corrected = found + detector._correction(found)
    assert float((found - true)[:, :2].abs().max()) > 0.1
    assert float((corrected - true)[:, :2].abs().max()) < 0.01
    torch.testing.assert_close(corrected[:, 2:], found[:, 2:])


def test_a_direction_of_the_look_that_changes_with_the_view_hardly_counts() -> None:
    rng = torch.Generator().manual_seed(0)

    def views_of(own: Tensor) -> Tensor:
        appearance = torch.zeros(FILMS, SLOTS, 3)
        appearance[:, :2, 1] = own + 0.05 * torch.randn(FILMS, 2, generator=rng)
        appearance[:, :2, 2] = torch.randn(FILMS, 2, generator=rng)
        return appearance

    own = torch.randn(FILMS, 2, generator=rng)
    plain, *others = (described(views_of(own)) for _ in range(3))
    weights = look_map(plain, others, slice(1, None)).norm(dim=1)
    assert float(weights[0]) > 0.5
    assert float(weights[1]) < 0.05 * float(weights[0])


def test_a_look_that_never_changes_is_left_as_it_is() -> None:
    appearance = torch.randn(FILMS, SLOTS, 4, generator=torch.Generator().manual_seed(0))
    plain = described(appearance)
    torch.testing.assert_close(look_map(plain, (plain,), slice(1, None)), torch.eye(3))


def test_anatomies_that_differ_along_a_quiet_direction_are_named_by_it_and_others_never() -> None:
    rng = torch.Generator().manual_seed(0)
    parts = torch.randn(FILMS, SLOTS, 2, generator=rng) * torch.tensor([3.0, 0.1])
    parts[:, 0, 1] += 0.5
    weight, bias = naming((Described(torch.zeros(FILMS, SLOTS, 1), parts, two_known()),))
    logits = parts[:, :2] * LOGIT_SCALE @ weight.T + bias
    assert float((logits.argmax(dim=-1) == torch.arange(2)).float().mean()) > 0.98
    assert bias[2:].unique().tolist() == [NEVER]


@pytest.mark.parametrize("settles", [True, False])
def test_the_perceptrons_are_learnt_anew_only_where_the_configuration_says_so(
    settles: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settle, "ANATOMY_STEPS", 2)
    films = load_films(read_split(drawn_folder(tmp_path, train=6), "train"), TINY.side)
    network = RegionNetwork(TINY)
    before = network.embedder.to_anatomy[0].weight.clone()
    calibrate(network, films, dataclasses.replace(SMALL, settle=settles), lambda _done, _total: None)
    assert torch.equal(network.embedder.to_anatomy[0].weight, before) is not settles
    assert bool(network.embedder.centres.any())
