"""Chest ImaGenome as its readers meet it, noise included: every kind is survived and counted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.data.dataset import open_data, read_films, read_split
from models.data.errors import DataError
from models.data.imagenome.silver import SilverData
from models.data.imagenome.statements import FINDINGS
from models.data.noise import Noise
from models.data.pixels import read_pixels
from regionmir.core.anatomy import anatomies, anatomy_by_name
from regionmir.core.geometry import Box
from tests.support.imagenome import (
    NAMES,
    SEVEN_MORE,
    SIZE,
    SyntheticImaGenome,
    all_objects,
    corners_of,
    scene_object,
)

SPINE, RIGHT_LUNG, LEFT_LUNG = (anatomy_by_name(n).key for n in ("spine", "right lung", "left lung"))
ALL = {a.key for a in anatomies()}


@pytest.fixture
def made(tmp_path: Path) -> SyntheticImaGenome:
    return SyntheticImaGenome(tmp_path)


def with_changed(name: str, **changes: Any) -> list[Any]:
    """Return sound objects but for one."""
    return [scene_object(n, **(changes if n == name else {})) for n in NAMES]


def read_noisy(made: SyntheticImaGenome, split: str | None = "train") -> tuple[list[Any], dict[str, int]]:
    """Return the films of a split, and the noise met."""
    data = open_data(made.write())
    return list(data.films(split)), dict(data.noise.counts)


@pytest.mark.parametrize("graphs", ["folder", "nested", "zip"])
def test_films_come_from_any_packing_with_boxes_in_original_pixels(made: SyntheticImaGenome, graphs: Any) -> None:
    made.add("train")
    made.add("valid", size=(120, 80))
    path = made.write(graphs)
    films = read_films(path)
    assert [(f.split, f.patient, f.width, f.height) for f in films] == [
        ("train", "10000000", 90, 120),
        ("valid", "10000001", 120, 80),
    ]
    assert films[0].boxes.keys() == ALL
    assert films[0].boxes[RIGHT_LUNG] == Box(*corners_of("right lung"))
    assert films[1].boxes[LEFT_LUNG] == Box(*corners_of("left lung", (120, 80)))
    assert films[0].origins[SPINE] == "silver"
    assert read_pixels(films[1]).shape == (80, 120)
    data = open_data(path)
    assert data.splits() == ("train", "valid", "test")
    assert list(data.films()) == films
    assert data.noise.counts == {}


Mutation = Callable[[], list[Any]]
NOISE: dict[Noise, tuple[Mutation, set[int]]] = {
    Noise.CUT: (lambda: with_changed("spine", corners=(-5, 10, 40, 110)), set()),
    Noise.OUTSIDE: (lambda: with_changed("spine", corners=(10, -90, 40, 10)), {SPINE}),
    Noise.NO_AREA: (lambda: with_changed("spine", corners=(40, 50, 40, 90)), {SPINE}),
    Noise.NO_NUMBER: (lambda: with_changed("spine", original_x1="left", x1=None), {SPINE}),
    Noise.WRONG_SIDE: (lambda: with_changed("right lung", corners=corners_of("left lung")), {RIGHT_LUNG}),
    Noise.FROM_224: (lambda: with_changed("spine", original_x1=None), set()),
    Noise.SURPLUS_OBJECT: (lambda: [*all_objects(), scene_object("spine", (1, 2, 60, 80))], set()),
    Noise.NO_SLOT: (lambda: all_objects([*NAMES, SEVEN_MORE[0]]), set()),
    Noise.UNKNOWN_ANATOMY: (lambda: all_objects([*NAMES, "third lung"]), set()),
    Noise.NOT_ALL_ANATOMIES: (lambda: all_objects(NAMES[1:]), {RIGHT_LUNG}),
    Noise.MALFORMED: (lambda: [*all_objects(), "no object"], set()),
}


@pytest.mark.parametrize("kind", NOISE)
def test_a_noisy_box_is_counted_and_costs_no_other_box(made: SyntheticImaGenome, kind: Noise) -> None:
    mutation, lost = NOISE[kind]
    made.add("train", mutation())
    films, counts = read_noisy(made)
    assert counts.pop(kind) == 1
    assert counts == ({Noise.NOT_ALL_ANATOMIES: 1} if lost and kind is not Noise.NOT_ALL_ANATOMIES else {})
    assert films[0].boxes.keys() == ALL - lost


def test_boxes_over_the_border_are_cut_and_missing_pixels_are_computed(made: SyntheticImaGenome) -> None:
    made.add("train", with_changed("spine", corners=(-5, 10, 40, 130)))
    made.add("train", with_changed("spine", original_x1=None))
    films, _ = read_noisy(made)
    assert films[0].boxes[SPINE] == Box(0, 10, 40, SIZE[1])
    assert films[1].boxes[SPINE].iou(Box(*corners_of("spine"))) > 0.9


def test_the_first_sound_box_of_an_anatomy_is_kept(made: SyntheticImaGenome) -> None:
    spines = [scene_object("spine", c) for c in ((40, 50, 40, 90), (30, 10, 60, 110), (1, 2, 60, 80))]
    made.add("train", [*all_objects(n for n in NAMES if n != "spine"), *spines])
    films, counts = read_noisy(made)
    assert films[0].boxes[SPINE] == Box(30, 10, 60, 110)
    assert (counts[Noise.NO_AREA], counts[Noise.SURPLUS_OBJECT]) == (1, 1)


def test_the_seven_anatomies_of_the_larger_variant_are_counted_and_left_out(made: SyntheticImaGenome) -> None:
    made.add("train", all_objects([*NAMES, *SEVEN_MORE]))
    films, counts = read_noisy(made)
    assert counts == {Noise.NO_SLOT: 7}
    assert films[0].boxes.keys() == ALL


def test_films_that_cannot_be_used_are_counted_and_the_others_come(made: SyntheticImaGenome) -> None:
    good = made.add("train")
    made.add("train", graph=False)
    made.add("train", image="")
    made.add("train", [])
    made.add("train", patient_id=19999999)
    made.add("train", all_objects(size=(900, 1200)))
    made.add("")
    made.films.append(good)
    films, counts = read_noisy(made, None)
    assert [f.name for f in films] == [good.dicom]
    assert counts == {
        Noise.NO_GRAPH: 1,
        Noise.NO_IMAGE: 1,
        Noise.NO_BOX: 1,
        Noise.OTHER_PATIENT: 1,
        Noise.OTHER_SIZE: 1,
        Noise.LISTED_TWICE: 1,
        Noise.NOT_LISTED: 1,
    }


def test_patients_to_avoid_are_in_no_split_by_whatever_film(made: SyntheticImaGenome) -> None:
    avoided = made.add("avoid")
    made.add("train", subject=avoided.subject)
    made.add("test", subject=avoided.subject)
    kept = made.add("train")
    films, counts = read_noisy(made, None)
    assert [f.name for f in films] == [kept.dicom]
    assert counts == {Noise.AVOIDED: 2}


def test_without_the_list_of_patients_to_avoid_nothing_is_read(made: SyntheticImaGenome) -> None:
    made.add("train")
    path = made.write()
    (path / "silver_dataset" / "splits" / "images_to_avoid.csv").unlink()
    with pytest.raises(DataError, match=r"images_to_avoid\.csv: does not exist"):
        read_films(path)


def test_a_patient_in_two_splits_is_refused_with_file_and_row(made: SyntheticImaGenome) -> None:
    made.add("train", subject=10000005)
    made.add("valid")
    made.add("valid", subject=10000005)
    message = r"valid\.csv, row 3: patient '10000005' stands in splits 'train' and 'valid'"
    with pytest.raises(DataError, match=message):
        read_films(made.write())


def test_an_empty_split_says_what_was_left_out(made: SyntheticImaGenome) -> None:
    made.add("train")
    made.add("test", image="")
    with pytest.raises(DataError, match=r"'test' has no films; splits here: train, valid, test \(1 x film whose image"):
        read_split(made.write(), "test")


def test_an_unreadable_image_is_named_with_the_row_that_lists_it(made: SyntheticImaGenome) -> None:
    film = made.add("train")
    path = made.write()
    made.image(film).write_text("no image")
    with pytest.raises(DataError, match=r"-0000\.jpg: cannot be read as an image \(.*train\.csv, row 2\)"):
        read_films(path)


@pytest.mark.parametrize(("text", "message"), [("{", "is no JSON"), ("[]", "is no scene graph")])
def test_a_damaged_scene_graph_is_named(made: SyntheticImaGenome, text: str, message: str) -> None:
    film = made.add("train")
    path = made.write()
    (path / "silver_dataset" / "scene_graph" / f"{film.dicom}_SceneGraph.json").write_text(text)
    with pytest.raises(DataError, match=rf"{film.dicom}_SceneGraph\.json: {message}"):
        read_films(path)


def test_an_identifier_that_leads_elsewhere_is_refused(made: SyntheticImaGenome) -> None:
    made.add("train").dicom = "../../secret"
    made.films[0].graph = False
    made.films[0].image = ""
    with pytest.raises(DataError, match=r"train\.csv, row 2: subject_id and study_id must be numbers"):
        read_films(made.write())


def test_without_films_the_error_says_what_to_do(made: SyntheticImaGenome, tmp_path: Path) -> None:
    made.add("train")
    path = made.write()
    (tmp_path / "mimic-cxr-jpg").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="make a link `files`"):
        read_films(path)
    assert len(list(SilverData(path / "silver_dataset", tmp_path / "elsewhere" / "2.1.0").films())) == 1


def test_films_of_mimic_cxr_in_dicom_are_read_as_they_are_stored(made: SyntheticImaGenome) -> None:
    made.add("train", image="dcm")
    made.add("train", image="jpg")
    first, second = read_films(made.write())
    assert first.path.suffix == ".dcm"
    assert read_pixels(first).shape == (SIZE[1], SIZE[0])
    assert float(np.corrcoef(read_pixels(first).ravel(), read_pixels(second).ravel())[0, 1]) > 0.8


def test_findings_of_a_region_are_stated_denied_or_unknown(made: SyntheticImaGenome) -> None:
    made.add(
        "train",
        phrases=[
            ("right lung", ["anatomicalfinding|no|pneumothorax", "nlp|yes|normal"]),
            ("left lung", ["disease|yes|pneumonia", "nlp|yes|abnormal", "anatomicalfinding|yes|bone lesion"]),
        ],
    )
    films, counts = read_noisy(made)
    assert films[0].findings == {
        RIGHT_LUNG: {"pneumothorax": False, "abnormal": False},
        LEFT_LUNG: {"pneumonia": True, "abnormal": True},
    }
    assert films[0].finding == ""
    assert counts == {}


def test_contradictions_count_as_stated_and_malformed_statements_are_survived(made: SyntheticImaGenome) -> None:
    phrases = [
        ("left lung", [f"anatomicalfinding|no|{FINDINGS[0]}", "nlp|yes|normal"]),
        ("left lung", [f"anatomicalfinding|yes|{FINDINGS[0]}", "lung opacity", "a|perhaps|b"]),
        ("unknown", ["disease|yes|pneumonia"]),
    ]
    made.add("train", phrases=phrases)
    films, counts = read_noisy(made)
    assert films[0].findings == {LEFT_LUNG: {FINDINGS[0]: True, "abnormal": False}}
    assert counts == {Noise.MALFORMED: 2, Noise.STATEMENT_WITHOUT_ANATOMY: 1, Noise.CONTRADICTION: 1}


def test_gold_comes_as_one_split_of_the_patients_to_avoid(made: SyntheticImaGenome) -> None:
    gold_names = [a.name for a in anatomies() if a.gold]
    phrases = [("left lung", ["anatomicalfinding|yes|lung opacity", "nlp|yes|abnormal"])]
    first = made.add("avoid", all_objects(gold_names), phrases=phrases)
    second = made.add("avoid", all_objects(gold_names[:-1]))
    made.add("train")
    unlisted = made.add("")
    made.write()
    data = open_data(made.write_gold([first, second, unlisted]))
    films = list(data.films())
    assert [(f.name, f.split, f.patient) for f in films] == [(f.dicom, "gold", str(f.subject)) for f in (first, second)]
    assert films[0].boxes[LEFT_LUNG] == Box(*corners_of("left lung"))
    assert len(films[0].boxes) == len(gold_names) == 26
    assert films[0].findings == {LEFT_LUNG: {"lung opacity": True, "abnormal": True}}
    assert films[0].origins[LEFT_LUNG] == "gold"
    assert data.noise.counts == {Noise.NOT_ALL_ANATOMIES: 1, Noise.NOT_LISTED: 1}
    assert list(data.films("train")) == []


def test_a_split_is_read_without_keeping_more_than_one_scene_graph(made: SyntheticImaGenome) -> None:
    for _ in range(3):
        made.add("train")
    told: list[tuple[int, int]] = []
    films = open_data(made.write()).films("train", lambda done, total: told.append((done, total)))
    next(films)
    assert told == []
    next(films)
    assert told == [(1, 3)]
