"""Which anatomies are in view, told from the edges that were found."""

import torch
from torch import Tensor

from models.detector import TESTIMONY, with_one
from models.network import SLOTS
from models.square import MAX_STRETCH
from models.train.seen import Seen
from models.train.witness import LEAST, MOST, InView, random_parts, witness

FILMS, SIDE = 300, 64
LUNG, HEART, ALWAYS, BOXLESS = 0, 1, 2, 3


def shown(rng: torch.Generator) -> InView:
    """Return films whose lung is out of view where its edges lie together, and whose heart is where they are unsure."""
    said = torch.randn(FILMS, SLOTS, TESTIMONY, generator=rng)
    present = torch.zeros(FILMS, SLOTS, dtype=torch.bool)
    present[:, LUNG] = said[:, LUNG, 2] > said[:, LUNG, 0]
    present[:, HEART] = said[:, HEART, 5] < 0
    absent = ~present
    present[:, ALWAYS] = True
    absent[:, ALWAYS:] = False
    return InView(said, present, absent)


def logits(seen: InView, weights: Tensor) -> Tensor:
    return with_one(seen.testimony.flatten(1)) @ weights


def test_what_is_out_of_view_is_told_from_the_edges_of_films_never_seen() -> None:
    rng = torch.Generator().manual_seed(0)
    weights, others = witness((shown(rng), shown(rng))), shown(rng)
    right = (logits(others, weights) > 0) == others.present
    assert float(right[:, [LUNG, HEART]].float().mean()) > 0.93


def test_the_unit_of_a_number_does_not_matter() -> None:
    seen = shown(torch.Generator().manual_seed(0))
    weights = witness((seen,))
    other = InView(seen.testimony * 100 + 7, seen.present, seen.absent)
    torch.testing.assert_close(logits(other, witness((other,))), logits(seen, weights), atol=0.05, rtol=0.02)


def test_an_anatomy_that_was_never_out_of_view_is_in_view_and_one_without_boxes_tells_nothing() -> None:
    seen = shown(torch.Generator().manual_seed(0))
    weights = witness((seen,))
    said = logits(seen, weights)
    assert float(said[:, ALWAYS].min()) == float(said[:, ALWAYS].max()) > 5
    assert not bool(weights[:, BOXLESS:].any())
    assert not bool(weights[BOXLESS * TESTIMONY : -1].any())
    assert bool(weights[:-1, :ALWAYS].any(dim=0).all())


def test_where_nothing_is_ever_out_of_view_edges_teach_nothing() -> None:
    seen = shown(torch.Generator().manual_seed(0))
    weights = witness((InView(seen.testimony, seen.present, torch.zeros_like(seen.absent)),))
    assert not bool(weights[:-1].any())
    assert float(weights[-1, : ALWAYS + 1].min()) > 4


def test_nothing_is_out_of_view_of_a_whole_film() -> None:
    known = torch.rand(FILMS, SLOTS) < 0.5
    none = torch.zeros(FILMS, SLOTS, 1)
    whole = Seen(torch.zeros(FILMS, SLOTS, TESTIMONY), none, known, none, none, known, none)
    assert not bool(InView.of(whole).absent.any())
    assert bool((InView.of(whole).present == known).all())


def test_a_part_shows_an_end_of_the_film_and_the_share_of_each_box_in_it() -> None:
    rng = torch.Generator().manual_seed(1)
    images = torch.zeros(80, SIDE, SIDE, dtype=torch.uint8)
    images[:, :, : SIDE // 2] = 200
    left, right = [0.0, 0, SIDE / 2, SIDE], [SIDE / 2, 0.0, SIDE, SIDE]
    parts, shares = random_parts(images, torch.tensor([left, right]).expand(80, 2, 4), rng)
    assert parts.shape == (80, 1, SIDE, SIDE)
    kept = shares.mean(dim=1)
    assert LEAST - 0.02 < float(kept.min()) < LEAST + 0.1
    assert MOST - 0.1 < float(kept.max()) < MOST + 0.02
    sides = [int(((shares[:, n] == 1) & (shares[:, 1 - n] < 1)).sum()) for n in (0, 1)]
    assert min(sides) > 8  # the left or the right end, each in a quarter of the parts
    mixed = shares[:, 1] > 0  # a part of one grey is black
    white = (parts[mixed, 0] > 0.5).float().mean(dim=(-2, -1))
    filled = (kept * MAX_STRETCH).clamp(max=1)  # a longer part has a margin
    torch.testing.assert_close(white, (shares[:, 0] / 2 / kept * filled)[mixed], atol=0.03, rtol=0)
