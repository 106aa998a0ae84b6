"""The perceptrons that are learnt once more when nothing else changes."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.embedder import Embedder, Parts
from models.train import settle
from models.train.settle import Way, settle_anatomy, settle_finding

FILMS, ANATOMIES, SEEN = 300, 4, 16
SIZES = torch.tensor([0.3, 0.1, 0.0, 0.1])


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(settle, "FINDING_STEPS", 200)
    monkeypatch.setattr(settle, "ANATOMY_STEPS", 200)


def perceptron(length_in: int = SEEN) -> nn.Sequential:
    torch.manual_seed(1)
    embedder = Embedder(ANATOMIES, length_in // 2, Parts(4, 4, 4, (0.2, 0.2, 0.6)))
    return embedder.to_finding


def films() -> tuple[Tensor, Tensor, Tensor]:
    """Return what is seen of regions, which are known, and findings that hide in one quiet direction."""
    rng = torch.Generator().manual_seed(0)
    finding = torch.randint(0, 3, (FILMS,), generator=rng)
    seen = 50 + torch.randn(FILMS, ANATOMIES, SEEN, generator=rng)
    seen += 20 * torch.arange(ANATOMIES)[:, None]  # what all regions of an anatomy share
    seen[..., 3] = 0.001 * (finding[:, None] + 0.2 * torch.randn(FILMS, ANATOMIES, generator=rng))
    known = torch.ones(FILMS, ANATOMIES, dtype=torch.bool)
    known[:, 2] = False
    return seen, known, finding


def agreeing(part: Tensor, finding: Tensor) -> float:
    """Return how often the nearest other film has the same finding."""
    part = F.normalize(part - part.mean(dim=0), dim=-1)
    nearest = (part @ part.T).fill_diagonal_(-2).argmax(dim=1)
    return float((finding[nearest] == finding).float().mean())


def test_a_finding_that_hides_in_a_quiet_direction_decides_what_is_near() -> None:
    seen, known, finding = films()
    learnt = perceptron()
    with torch.no_grad():
        assert agreeing(learnt(seen[:, 0]), finding) < 0.5
    assert settle_finding(learnt, [Way(seen, known)], SIZES, finding, seed=0)
    with torch.no_grad():
        assert agreeing(learnt(seen[:, 0]), finding) > 0.85


def test_films_without_a_finding_teach_none() -> None:
    seen, known, finding = films()
    learnt, before = perceptron(), perceptron().state_dict()
    for unknown in (torch.full_like(finding, -1), torch.where(finding == 1, finding, -1)):
        assert not settle_finding(learnt, [Way(seen, known)], SIZES, unknown, seed=0)
    assert all(torch.equal(value, before[name]) for name, value in learnt.state_dict().items())


def test_the_same_seed_learns_the_same_and_leaves_other_random_numbers_alone() -> None:
    seen, known, finding = films()
    made = []
    for _ in range(2):
        learnt = perceptron()
        torch.manual_seed(7)
        settle_finding(learnt, [Way(seen, known)], SIZES, finding, seed=0)
        made.append((learnt[0].weight.clone(), torch.rand(1)))
    assert torch.equal(made[0][0], made[1][0])
    torch.manual_seed(7)
    assert torch.equal(made[0][1], torch.rand(1))


def test_anatomies_that_look_alike_are_told_apart_in_every_way_of_showing_them() -> None:
    rng = torch.Generator().manual_seed(2)
    known = films()[1]
    quiet = 0.001 * (torch.eye(ANATOMIES) + 0.2 * torch.randn(FILMS, ANATOMIES, ANATOMIES, generator=rng))
    seen, changed = torch.randn(2, FILMS, ANATOMIES, SEEN, generator=rng)
    seen[..., :ANATOMIES] = changed[..., :ANATOMIES] = quiet
    ways = [Way(seen, known), Way(changed, known)]
    learnt = perceptron()
    settle_anatomy(learnt, ways, seed=0)
    slot = torch.arange(ANATOMIES).expand(FILMS, -1)[known]
    for way in ways:
        with torch.no_grad():
            part = F.normalize(learnt(way.seen[known]), dim=-1)
        means = torch.stack([part[slot == s].mean(dim=0) for s in (0, 1, 3)])
        assert float((torch.tensor([0, 1, 3])[(part @ means.T).argmax(dim=1)] == slot).float().mean()) > 0.95


def test_a_way_without_chance_teaches_nothing() -> None:
    seen, known, finding = films()
    scrambled = Way(seen.flip(0), known, chance=0.0)
    made = []
    for ways in ([Way(seen, known), scrambled], [Way(seen, known, chance=0.3), scrambled]):
        learnt = perceptron()
        settle_finding(learnt, ways, SIZES, finding, seed=0)
        made.append(learnt[0].weight.clone())
    with torch.no_grad():
        assert agreeing(learnt(seen[:, 0]), finding) > 0.85
    assert torch.equal(*made)
