"""The reader of a folder of films: what it returns, and what it says of bad ones."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.data.dataset import read_split
from models.data.errors import DataError
from models.data.films import patient_key, without_patients_of
from models.data.folder import read_folder
from models.data.pixels import read_mask
from models.data.tensors import load_films, read_pixels
from regionmir.core.geometry import Box

IMAGES = "image,width,height,source,patient,finding,age_group,licence,split\n"
REGIONS = "image,anatomy,x0,y0,x1,y1,origin\n"


def folder(root: Path, images: str, regions: str = "") -> Path:
    """Write a folder with the two tables and return it."""
    (root / "images.csv").write_text(IMAGES + images)
    (root / "regions.csv").write_text(REGIONS + regions)
    return root


def film(name: str = "a.png", patient: str = "p1", split: str = "train", size: str = "80,60") -> str:
    return f"{name},{size},ours,{patient},normal,adult,CC0,{split}\n"


def test_films_come_with_their_boxes(tmp_path: Path) -> None:
    films = read_folder(folder(tmp_path, film(), "a.png,left lung,10,5,70,55,mask\n"))
    assert [f.name for f in films] == ["a.png"]
    assert films[0].boxes == {9: Box(10, 5, 70, 55)}
    assert films[0].origins == {9: "mask"}


def test_a_box_that_reaches_over_the_border_is_cut(tmp_path: Path) -> None:
    films = read_folder(folder(tmp_path, film(), "a.png,spine,-5,0,20,70,derived\n"))
    assert films[0].boxes[18] == Box(0, 0, 20, 60)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.png,left lung,90,5,99,9,mask", "has no area"),
        ("a.png,left lung,79,5,99,9,mask", "outside the image of 80 x 60"),
        ("a.png,left lung,10,5,10,9,mask", "no area"),
        ("a.png,left lung,10,5,ten,9,mask", "not a number"),
        ("a.png,left lung,10,5,nan,9,mask", "not finite"),
        ("a.png,left wing,10,5,20,9,mask", "unknown anatomy 'left wing'"),
        ("b.png,left lung,10,5,20,9,mask", "b.png is not in images.csv"),
        ("a.png,left lung", "too few values"),
    ],
)
def test_a_bad_box_is_named_with_file_and_row(tmp_path: Path, row: str, message: str) -> None:
    good = "a.png,right lung,10,5,70,55,mask\n"
    with pytest.raises(DataError, match=r"regions\.csv, row 3: ") as caught:
        read_folder(folder(tmp_path, film(), good + row + "\n"))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (film(), "names a.png a second time"),
        (film("b.png", size="0,60"), "width is '0'"),
        (film("b.png", size="80,x"), "height is 'x'"),
        (film("../b.png"), "outside the folder"),
        (film("b.png", patient=""), "must not be empty"),
    ],
)
def test_a_bad_film_is_named_with_file_and_row(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(DataError, match=r"images\.csv, row 3: ") as caught:
        read_folder(folder(tmp_path, film() + row))
    assert message in str(caught.value)


def test_a_patient_in_two_splits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"images\.csv, row 3: patient 'p1' stands in splits 'train' and 'val'"):
        read_folder(folder(tmp_path, film() + film("b.png", split="val")))


def test_an_empty_split_is_refused_with_the_ones_there_are(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="split 'val' has no films; splits here: train"):
        read_split(folder(tmp_path, film()), "val")


def test_a_missing_table_and_a_missing_column_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"images\.csv: does not exist"):
        read_folder(tmp_path)
    (tmp_path / "images.csv").write_text("image,width\n")
    with pytest.raises(DataError, match="lacks the columns height, source"):
        read_folder(tmp_path)


def test_a_person_number_seen_with_bacteria_and_virus_is_one_patient(tmp_path: Path) -> None:
    assert patient_key("person12_bacteria") == patient_key("person12_virus") != patient_key("person1_virus")
    films = read_folder(
        folder(
            tmp_path, film("a.png", "person12_bacteria") + film("b.png", "person12_virus", "val") + film("c.png", "x")
        )
    )
    kept = without_patients_of([f for f in films if f.split == "train"], [f for f in films if f.split == "val"])
    assert [f.name for f in kept] == ["c.png"]


def test_an_image_that_cannot_be_read_or_has_another_size_is_named(tmp_path: Path) -> None:
    films = read_folder(folder(tmp_path, film() + film("b.png", "p2")))
    (tmp_path / "a.png").write_text("not an image")
    Image.fromarray(np.zeros((10, 12), dtype=np.uint8)).save(tmp_path / "b.png")
    with pytest.raises(DataError, match=r"a\.png: cannot be read as an image \(.*images\.csv, row 2\)"):
        read_pixels(films[0])
    with pytest.raises(DataError, match=r"b\.png: is 12 x 10, images\.csv, row 3 says 80 x 60"):
        read_pixels(films[1])


def test_films_become_tensors_with_boxes_in_input_pixels(tmp_path: Path) -> None:
    films = read_folder(folder(tmp_path, film(), "a.png,left lung,0,0,40,60,mask\n"))
    Image.fromarray(np.tile(np.arange(80, dtype=np.uint8), (60, 1))).save(tmp_path / "a.png")
    tensors = load_films(films, 64)
    assert tensors.known.nonzero().tolist() == [[0, 8]]
    assert tensors.boxes[0, 8].tolist() == [0, 0, 32, 64]
    assert tensors.images.shape == (1, 64, 64)
    assert not bool(tensors.masked.any())


def test_a_mask_comes_at_half_the_size_and_tells_of_the_regions_that_have_boxes(tmp_path: Path) -> None:
    row = film("images/a.png")
    films = folder(tmp_path, row, "images/a.png,left lung,40,0,80,60,mask\n")
    labels = np.zeros((60, 80), dtype=np.uint8)
    labels[:, 40:] = 2
    for name, pixels in (("images", labels * 100), ("masks", labels)):
        (tmp_path / name).mkdir()
        Image.fromarray(pixels).save(tmp_path / name / "a.png")
    tensors = load_films(read_folder(films), 64)
    assert tensors.masked.tolist() == [[False, True, False]]
    assert tensors.masks.shape == (1, 32, 32)
    assert tensors.masks[0, :, 16:].unique().tolist() == [2]
    assert tensors.masks[0, :, :16].unique().tolist() == [0]
    Image.fromarray(labels[:50]).save(tmp_path / "masks" / "a.png")
    with pytest.raises(DataError, match=r"is 80 x 50, its image \(images\.csv, row 2\) 80 x 60"):
        load_films(read_folder(films), 64)


def test_more_than_eight_bits_are_refused_and_not_cut_off(tmp_path: Path) -> None:
    films = read_folder(folder(tmp_path, film()))
    Image.fromarray(np.full((60, 80), 4000, dtype=np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png: has more than 8 bits"):
        read_pixels(films[0])


def masked(tmp_path: Path, labels: np.ndarray) -> Path:
    """Write a folder with one film below `images`, and `labels` as its mask."""
    (tmp_path / "masks" / "ours").mkdir(parents=True)
    Image.fromarray(labels.astype(np.uint8)).save(tmp_path / "masks" / "ours" / "a.png")
    return folder(tmp_path, film("images/ours/a.jpg") + film("images/ours/b.jpg", "p2"))


def test_a_mask_is_found_by_the_name_of_its_image(tmp_path: Path) -> None:
    labels = np.arange(60 * 80).reshape(60, 80) % 4
    films = read_folder(masked(tmp_path, labels))
    np.testing.assert_array_equal(read_mask(films[0]), labels)
    assert films[1].mask is None
    with pytest.raises(DataError, match=r"b\.jpg: has no mask"):
        read_mask(films[1])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((60, 70)), r"a\.png: is 70 x 60, its image \(images\.csv, row 2\) 80 x 60"),
        (np.full((60, 80), 4), r"a\.png: has the label 4; known are 0 to 3"),
        (np.zeros((60, 80, 3)), r"a\.png: is a picture of mode RGB"),
    ],
)
def test_a_mask_of_another_size_or_with_other_labels_is_refused(
    tmp_path: Path, labels: np.ndarray, message: str
) -> None:
    films = read_folder(masked(tmp_path, labels))
    with pytest.raises(DataError, match=message):
        read_mask(films[0])


def test_a_mask_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    films = read_folder(masked(tmp_path, np.zeros((60, 80))))
    (tmp_path / "masks" / "ours" / "a.png").write_text("no image")
    with pytest.raises(DataError, match=r"masks/ours/a\.png: cannot be read"):
        read_mask(films[0])
