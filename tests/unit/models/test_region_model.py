"""What the shipped model answers: its contract, and real films and other objects where they are at hand."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from pydicom import dcmread

from models.data.dataset import read_split
from models.data.tensors import read_pixels
from models.evaluate.analysed import analyse_films
from models.evaluate.detection import detection_cases
from models.evaluate.figures import Figure
from models.preprocess import prepare, stack
from models.region_model import RegionModel
from models.registry import load_model
from models.square import square
from regionmir.core.geometry import Box
from regionmir.pixels.decode import display_image

Image = npt.NDArray[np.float32]
CHESTS = ("RG1_J2KI.dcm", "RG1_JLSN", "RSNA_CR_JPEG")
OTHERS = ("RG2_RLE", "CT1_JLSL", "CT1_UNC", "MR1_UNC", "XA1_J2KR")


@pytest.fixture(scope="module")
def model() -> RegionModel:
    """Return the shipped model."""
    return load_model(threads=2)


@pytest.fixture(scope="module")
def films(shared_dir: Path) -> list[Image]:
    """Return a few films of the val split, of every source."""
    chosen = read_split(shared_dir / "data" / "cxr", "val")[::60]
    return [read_pixels(film) for film in chosen]


def drawn_chest(height: int = 300, width: int = 260) -> Image:
    """Return a crude drawing: two dark lungs in a bright body."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    y, x = y / height - 0.5, x / width - 0.5
    lungs = [((x - cx) / 0.17) ** 2 + (y / 0.33) ** 2 < 1 for cx in (-0.22, 0.22)]
    return np.where(lungs[0] | lungs[1], 0.2, 0.7).astype(np.float32)


def test_an_answer_is_either_a_reason_or_regions_inside_the_image(model: RegionModel) -> None:
    image = drawn_chest()
    (found,) = model.analyse([image])
    assert 0 <= found.frontal_score <= 1
    assert found.accepted == (found.reason == "") == bool(found.regions)
    for region in found.regions:
        box = region.region.box
        assert min(box.x0, box.y0) >= 0
        assert box.x1 <= image.shape[1]
        assert box.y1 <= image.shape[0]


def test_no_image_gives_no_answer_and_no_box_no_vector(model: RegionModel) -> None:
    assert model.analyse([]) == []
    assert model.embed_boxes(drawn_chest(), []).shape == (0, model.info.dim)


@pytest.mark.parametrize("kind", ["blank", "noise", "slope"])
def test_what_is_no_radiograph_is_refused_with_a_reason(model: RegionModel, kind: str) -> None:
    noise = np.random.default_rng(0).random((200, 180)).astype(np.float32)
    image = {"blank": np.zeros_like(noise), "noise": noise, "slope": np.tile(np.linspace(0, 1, 180), (200, 1))}[kind]
    (found,) = model.analyse([image.astype(np.float32)])
    assert not found.accepted
    assert found.reason == ("blank image" if kind == "blank" else "not a frontal chest radiograph")


def test_a_free_box_has_a_unit_vector(model: RegionModel) -> None:
    vectors = model.embed_boxes(drawn_chest(), [Box(10, 10, 90, 120), Box(100, 30, 200, 260)])
    assert vectors.shape == (2, model.info.dim)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_film_is_accepted_with_unit_vectors_of_known_anatomies(model: RegionModel, films: list[Image]) -> None:
    for found in model.analyse(films):
        assert found.accepted, found.reason
        anatomies = [r.region.anatomy for r in found.regions]
        assert len(anatomies) >= 16
        assert set(anatomies) <= set(model.info.anatomies)
        assert len(set(anatomies)) == len(anatomies)
        for region in found.regions:
            assert 0 <= region.region.score <= 1
            assert region.vector.dtype == np.float32
            assert np.linalg.norm(region.vector) == pytest.approx(1, abs=1e-5)


def test_a_square_has_the_answer_of_the_film_that_it_was_made_from(model: RegionModel, films: list[Image]) -> None:
    for one, other in zip(model.analyse(films), model.analyse([square(f, model.side) for f in films]), strict=True):
        assert [r.region for r in one.regions] == [r.region for r in other.regions]
        for a, b in zip(one.regions, other.regions, strict=True):
            np.testing.assert_array_equal(a.vector, b.vector)


def test_the_same_film_has_the_same_answer_alone_and_in_a_batch(model: RegionModel, films: list[Image]) -> None:
    (alone,), together = model.analyse(films[:1]), model.analyse(films[:4])
    (again,) = model.analyse(films[:1])
    for a, b, c in zip(alone.regions, together[0].regions, again.regions, strict=True):
        assert a.region == c.region
        np.testing.assert_array_equal(a.vector, c.vector)
        if model.bf16:
            assert a.region.box.as_tuple() == pytest.approx(b.region.box.as_tuple(), abs=0.005 * max(films[0].shape))
            assert float(a.vector @ b.vector) > 0.999
        else:
            assert a.region.box.as_tuple() == pytest.approx(b.region.box.as_tuple(), abs=0.02)
            np.testing.assert_allclose(a.vector, b.vector, atol=1e-4)


def test_refused_films_of_a_batch_share_one_short_pass_that_says_what_a_whole_one_does(
    model: RegionModel, films: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoilt = [1 - films[0], films[0], np.rot90(films[0]).copy(), 1 - films[1]]
    judged: list[int] = []
    judge = model.network.judge
    monkeypatch.setattr(model.network, "judge", lambda batch: (judged.append(len(batch)), judge(batch))[1])
    reasons = [found.reason for found in model.analyse(spoilt)]
    assert judged == [3]
    assert reasons[:2] == ["black and white look exchanged", ""]
    assert reasons[2:] == ["not a frontal chest radiograph", "black and white look exchanged"]
    batch = stack([prepare(film, model.side) for film in films[:2]])
    whole = model.forward(batch)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=model.bf16):
        frontal, pooled = judge(batch)
    torch.testing.assert_close(frontal.sigmoid(), whole.frontal, atol=0.02, rtol=0)
    torch.testing.assert_close(pooled.float(), whole.pooled, atol=0.05, rtol=0.05)


def test_the_found_box_embeds_like_the_region(model: RegionModel, films: list[Image]) -> None:
    (found,) = model.analyse(films[:1])
    regions = [r.region for r in found.regions]
    vectors = model.embed_boxes(films[0], [region.box for region in regions], [region.anatomy for region in regions])
    for vector, region in zip(vectors, found.regions, strict=True):
        assert float(vector @ region.vector) > 0.98


def test_turned_and_inverted_films_are_refused(model: RegionModel, films: list[Image]) -> None:
    spoilt = [np.rot90(f, 2).copy() for f in films] + [np.rot90(f).copy() for f in films] + [1 - f for f in films]
    assert sum(found.accepted for found in model.analyse(spoilt)) == 0


@pytest.mark.parametrize("name", CHESTS)
def test_a_chest_radiograph_in_dicom_is_accepted(model: RegionModel, shared_dir: Path, name: str) -> None:
    image = display_image(dcmread(shared_dir / "data" / "dicom" / name))
    (found,) = model.analyse([image.values])
    assert found.accepted, found.frontal_score


@pytest.mark.parametrize("name", OTHERS)
def test_another_body_part_or_modality_is_refused(model: RegionModel, shared_dir: Path, name: str) -> None:
    image = display_image(dcmread(shared_dir / "data" / "dicom" / name))
    (found,) = model.analyse([image.values])
    assert not found.accepted, found.frontal_score


def test_a_film_whose_photometric_interpretation_is_wrong_is_refused_as_inverted(
    model: RegionModel, shared_dir: Path
) -> None:
    """This object holds the very pixels of `RSNA_CR_JPEG` and only says MONOCHROME1: it is shown as a negative."""
    image = display_image(dcmread(shared_dir / "data" / "dicom" / "RSNA_CR_MONO1_JPEG"))
    (found,) = model.analyse([image.values])
    assert found.reason == "black and white look exchanged"


def test_boxes_of_val_films_overlap_well_and_better_than_mean_boxes(model: RegionModel, shared_dir: Path) -> None:
    torch.set_num_threads(2)
    cxr = shared_dir / "data" / "cxr"
    base = analyse_films(model, read_split(cxr, "train")[::100])
    found = detection_cases(base, analyse_films(model, read_split(cxr, "val"))).figures()
    overlap, prior = found["mean_iou"], found["static_prior_mean_iou"]
    assert isinstance(overlap, Figure)
    assert isinstance(prior, Figure)
    assert overlap.value >= 0.80
    assert overlap.value > prior.value


def test_bfloat16_turns_the_vectors_of_films_little(model: RegionModel, films: list[Image]) -> None:
    exact, rounded = (RegionModel(model.network, model.info, model.acceptance, bf16=b) for b in (False, True))
    cosines = []
    for film, found in zip(films, model.analyse(films), strict=True):
        made = prepare(film, model.side)
        boxes = torch.tensor([[made.letterbox.to_input(one.region.box).as_tuple() for one in found.regions]])
        slots = torch.tensor([one.region.anatomy.key - 1 for one in found.regions])
        one, other = (each.describe(stack([made]), boxes, slots).vector for each in (exact, rounded))
        cosines.append((one * other).sum(dim=-1).flatten())
    assert float(torch.cat(cosines).median()) > 0.995
    assert float(torch.cat(cosines).min()) > 0.98
