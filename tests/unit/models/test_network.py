"""Shapes and promises of the networks, with random weights."""

import numpy as np
import pytest
import torch

from models.acceptance import Acceptance, fit_acceptance
from models.backbone import OUTPUT_WIDTHS, STAGES, Backbone, backbone_state
from models.detector import Detector
from models.network import SLOTS, NetworkConfig, RegionNetwork
from models.region_model import RegionModel, overlap
from regionmir.core.anatomy import anatomies
from regionmir.core.geometry import Box
from regionmir.core.records import GenerationInfo

CONFIG = NetworkConfig(side=64, width=16, dim=24, anatomy_dim=8, finding_dim=8)


@pytest.fixture(scope="module")
def network() -> RegionNetwork:
    torch.manual_seed(0)
    return RegionNetwork(CONFIG).eval()


def test_the_backbone_gives_maps_of_strides_8_16_16_and_32() -> None:
    maps = Backbone()(torch.rand(2, 1, 64, 96))
    assert [tuple(m.shape) for m in maps] == [
        (2, w, 64 // s, 96 // s) for w, s in zip(OUTPUT_WIDTHS, (8, 16, 16, 32), strict=True)
    ]


def test_batch_normalisation_of_published_weights_is_folded_in() -> None:
    rng = torch.Generator().manual_seed(0)
    conv = torch.nn.Conv2d(3, 32, 3, 2, 1, bias=False)
    norm = torch.nn.BatchNorm2d(32, eps=1e-3).eval()
    norm.running_mean.copy_(torch.randn(32, generator=rng))  # type: ignore[union-attr]
    norm.running_var.copy_(torch.rand(32, generator=rng) + 0.5)  # type: ignore[union-attr]
    published = {"_conv_stem.weight": conv.weight.detach()} | {f"_bn0.{k}": v for k, v in norm.state_dict().items()}
    number = 0
    for stage in STAGES:
        for _ in range(stage.repeats):
            parts = ["expand", "depthwise", "project"] if stage.expansion != 1 else ["depthwise", "project"]
            norms = ["_bn0", "_bn1", "_bn2"][-len(parts) :]
            for part, name in zip(parts, norms, strict=True):
                published[f"_blocks.{number}._{part}_conv.weight"] = torch.zeros(1, 1, 1, 1)
                for field in ("running_mean", "running_var", "weight", "bias"):
                    published[f"_blocks.{number}.{name}.{field}"] = torch.zeros(1)
            number += 1
    state = backbone_state(published)
    folded = torch.nn.Conv2d(1, 32, 3, 2, 1)
    folded.load_state_dict({k: state[f"stem.0.{k}"] for k in ("weight", "bias")})
    grey = torch.rand(1, 1, 16, 16, generator=rng)
    torch.testing.assert_close(folded(grey), norm(conv(grey.expand(-1, 3, -1, -1))), atol=1e-5, rtol=1e-5)
    assert state.keys() == Backbone().state_dict().keys()


def test_what_the_map_sees_at_the_edges_of_a_box_does_not_change_its_appearance(network: RegionNetwork) -> None:
    cells = torch.rand(1, 1, 2 * CONFIG.width, 7, 7, generator=torch.Generator().manual_seed(0))
    other = torch.rand(cells.shape, generator=torch.Generator().manual_seed(1))
    other[..., 1:-1, 1:-1] = cells[..., 1:-1, 1:-1]
    (anatomy, appearance), (otherwise, same) = (network.embedder.summarise(c) for c in (cells, other))
    assert torch.equal(appearance, same)
    assert not torch.allclose(anatomy, otherwise)
    other[..., 1, 1] += 1
    assert not torch.allclose(appearance, network.embedder.summarise(other)[1])


def test_a_vector_and_each_of_its_parts_have_unit_length(network: RegionNetwork) -> None:
    features = network.features(torch.rand(2, 1, 64, 64))
    boxes = torch.tensor([[[4.0, 4, 40, 50], [20.0, 10, 60, 60]]]).expand(2, -1, -1)
    found = network.embed(features, boxes, torch.tensor([0, 8]))
    assert found.vector.shape == (2, 2, 24)
    for part in (found.vector, found.anatomy, found.finding, found.look):
        torch.testing.assert_close(part.norm(dim=-1), torch.ones(2, 2))
    torch.testing.assert_close(found.vector[..., :8], CONFIG.anatomy_share**0.5 * found.anatomy)


def test_a_regions_appearance_is_described_without_what_lies_beyond_the_receptive_field(network: RegionNetwork) -> None:
    """178 pixels around a place are seen; the map that finds regions, and so names them, sees the whole film."""
    film = torch.rand(1, 1, 96, 512, generator=torch.Generator().manual_seed(0))
    other = film.clone()
    other[..., 320:] = 1 - other[..., 320:]
    boxes = torch.tensor([[[8.0, 8, 72, 88]]])
    with torch.no_grad():
        features, changed = network.features(film), network.features(other)
        one, two = (network.embed(f, boxes, torch.tensor([3])) for f in (features, changed))
    torch.testing.assert_close(one.uncentred, two.uncentred, atol=1e-6, rtol=0)
    assert not torch.allclose(one.anatomy, two.anatomy, atol=1e-6)
    assert not torch.allclose(features.detect[..., :8], changed.detect[..., :8], atol=1e-4)
    other[..., 80:] = 1 - other[..., 80:]
    with torch.no_grad():
        near = network.embed(network.features(other), boxes, torch.tensor([3]))
    assert not torch.allclose(one.uncentred, near.uncentred, atol=1e-6)


def test_bfloat16_hardly_turns_a_vector(network: RegionNetwork) -> None:
    film = np.random.default_rng(0).random((60, 80)).astype(np.float32)
    boxes = [Box(5, 10, 38, 50), Box(40, 10, 75, 50)]
    info = GenerationInfo("small", "1", "", CONFIG.dim, "", anatomies()[:9])
    acceptance = Acceptance(torch.zeros(320), torch.eye(320), 2.0)
    exact, rounded = (RegionModel(network, info, acceptance, bf16=b).embed_boxes(film, boxes) for b in (False, True))
    assert not np.array_equal(exact, rounded)
    assert float((exact * rounded).sum(axis=1).min()) > 0.999


def test_boxes_are_ordered_and_inside_whatever_the_weights_say() -> None:
    torch.manual_seed(1)
    detector = Detector(SLOTS, 16, 32)
    torch.nn.init.normal_(detector.shift.bias, std=2.0)
    with torch.no_grad():
        found = detector(torch.randn(3, 16, 8, 8), torch.randn(3, 32))
    assert found.boxes.shape == (3, SLOTS, 4)
    assert float(found.boxes.min()) >= 0
    assert float(found.boxes.max()) <= 1
    assert bool((found.boxes[..., 2:] > found.boxes[..., :2]).all())
    assert bool((found.edge_error > 0).all())


def test_an_edge_beyond_its_opposite_still_learns() -> None:
    detector = Detector(SLOTS, 16, 32)
    torch.nn.init.constant_(detector.shift.bias.data.view(SLOTS, 4)[:, 0], 0.4)
    found = detector(torch.zeros(1, 16, 8, 8), torch.zeros(1, 32))
    found.edges[..., 2].sum().backward()
    assert float(detector.shift.bias.grad.view(SLOTS, 4)[:, 2].abs().min()) > 0


def test_sure_edges_leave_all_of_the_overlap_and_wild_ones_none() -> None:
    extent = torch.tensor([[10.0, 20.0]])
    assert float(overlap(torch.zeros(1, 4), extent)) == 1
    assert float(overlap(torch.full((1, 4), 1.0), extent)) == pytest.approx(0.9 * 0.95)
    assert float(overlap(torch.full((1, 4), 100.0), extent)) == 0


def test_features_far_from_training_films_are_not_accepted() -> None:
    rng = torch.Generator().manual_seed(0)
    films = torch.randn(500, 6, generator=rng) * torch.tensor([1.0, 5, 1, 1, 0.1, 1])
    rule = fit_acceptance(films, 1.5)
    assert isinstance(rule, Acceptance)
    sure = torch.tensor(0.999)
    assert min(rule.score(sure, film) for film in films) > rule.threshold
    assert rule.score(sure, torch.tensor([0.0, 0, 0, 0, 3, 0])) < 0.01
    assert rule.score(torch.tensor(0.2), films.mean(dim=0)) == pytest.approx(0.2)


def test_a_large_shared_part_of_the_appearance_is_not_rounded_into_the_vectors() -> None:
    torch.manual_seed(0)
    config = NetworkConfig(side=64, width=16, dim=24, anatomy_dim=8, finding_dim=8)
    network = RegionNetwork(config).eval()
    embedder = network.embedder
    image, boxes, slots = torch.rand(2, 1, 64, 64), torch.tensor([[[8.0, 8, 40, 40]]] * 2), torch.tensor([3])
    with torch.inference_mode():
        features = network.features(image)
        before = network.embed(features, boxes, slots).vector
        embedder.to_finding[-1].bias += 200
        embedder.to_look[-1].bias += 200
        embedder.centres += 200
        with torch.autocast("cpu", torch.bfloat16):
            after = network.embed(features, boxes, slots).vector
    assert float((before * after).sum(dim=-1).min()) > 0.99
