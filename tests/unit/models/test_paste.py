"""Views of which one region is kept and the rest is another patient's film."""

import torch

from models.train.augment import Views
from models.train.paste import alone, keep_inside, pasted

LUNG, ZONE, HEART = 0, 1, 2
BOXES = {LUNG: (4, 4, 24, 28), ZONE: (6, 6, 20, 14), HEART: (20, 18, 30, 30)}


def views_of(films: torch.Tensor) -> Views:
    """Return views in which film n shows the grey 0.2 + 0.3 n and three regions, the second inside the first."""
    images = (0.2 + 0.3 * films.float())[:, None, None, None].expand(-1, 1, 32, 32).clone()
    boxes, known = torch.zeros(len(films), 29, 4), torch.zeros(len(films), 29, dtype=torch.bool)
    for slot, box in BOXES.items():
        boxes[:, slot], known[:, slot] = torch.tensor([float(v) for v in box]), True
    return Views(images, boxes, known, torch.zeros(len(films), 3, 8, 8), torch.zeros_like(known[:, :3]))


def test_what_is_inside_the_box_is_kept_and_the_rest_is_the_other_image() -> None:
    image, other = torch.zeros(1, 8, 8), torch.ones(1, 8, 8)
    made = keep_inside(image, other, torch.tensor([2.0, 3, 5, 7.2]))
    assert float(made[0, 3:7, 2:5].max()) == 0
    assert float(made.sum()) == 64 - 12
    assert float(other.min()) == 1


def test_a_pasted_view_keeps_a_regions_pixels_and_shows_another_film_around_it() -> None:
    films = torch.tensor([0, 1, 0, 1])
    views = views_of(films)
    made, inside, whole = pasted(views, films, 1.0, torch.Generator().manual_seed(0), 0.0)
    assert whole.tolist() == [True, True, False, False]
    assert torch.equal(made.images[:2], views.images[:2])
    for i in (2, 3):
        own = made.images[i, 0] == views.images[i, 0, 0, 0]
        kept = [s for s, (x0, y0, x1, y1) in BOXES.items() if int(own.sum()) == (x1 - x0) * (y1 - y0)]
        assert len(kept) == 1
        x0, y0, x1, y1 = BOXES[kept[0]]
        assert bool(own[y0:y1, x0:x1].all())
        assert made.images[i, 0][~own].unique().tolist() == [float(views.images[5 - i, 0, 0, 0])]
        assert bool(inside[i, kept[0]])
        assert bool(inside[i, ZONE]) == (kept[0] in (LUNG, ZONE))


def test_a_region_alone_lies_in_the_middle_of_black_and_its_boxes_move_with_it() -> None:
    films = torch.tensor([0, 1, 0, 1])
    views = views_of(films)
    made, inside, whole = pasted(views, films, 1.0, torch.Generator().manual_seed(0), 1.0)
    assert whole.tolist() == [True, True, False, False]
    assert torch.equal(made.boxes[:2], views.boxes[:2])
    for i in (2, 3):
        lit = (made.images[i, 0] > 0).nonzero()
        hull = [*lit.min(dim=0).values.flip(0).tolist(), *(lit.max(dim=0).values.flip(0) + 1).tolist()]
        kept = [s for s in BOXES if bool(inside[i, s]) and made.boxes[i, s].tolist() == hull]
        assert len(kept) == 1
        assert hull[0] + hull[2] == hull[1] + hull[3] == 32
        assert float(made.images[i].max()) == float(views.images[i].max())


def test_a_region_that_moves_to_the_middle_keeps_its_pixels() -> None:
    image = torch.arange(64.0).reshape(1, 8, 8)
    made, shift = alone(image, torch.tensor([0.0, 0, 2, 4]))
    assert shift.tolist() == [3, 2, 3, 2]
    assert torch.equal(made[0, 2:6, 3:5], image[0, 0:4, 0:2])
    assert int((made != 0).sum()) == 7  # one of its eight pixels is 0


def test_nothing_is_pasted_by_no_chance_or_from_the_same_film() -> None:
    for films, chance in ((torch.tensor([0, 1, 0, 1]), 0.0), (torch.tensor([0, 0]), 1.0)):
        views = views_of(films)
        made, inside, whole = pasted(views, films, chance, torch.Generator().manual_seed(0))
        assert torch.equal(made.images, views.images)
        assert bool(whole.all())
        assert torch.equal(inside, views.known)
