"""Any format by one interface, near duplicates across splits, and `regionmir model check-data`."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.data.dataset import EXPORT, open_data, read_films, read_split
from models.data.duplicates import near_duplicates_across_splits
from models.data.errors import DataError
from models.data.folder import read_folder
from regionmir.admin.main import main
from tests.support.films import chest_values
from tests.support.imagenome import SyntheticImaGenome, all_objects

WIDTH, HEIGHT = 160, 120


def picture(seed: int) -> Image.Image:
    return Image.fromarray((chest_values(seed, HEIGHT, WIDTH) * 255).astype(np.uint8))


def write(root: Path, films: list[tuple[str, str, Image.Image]], regions: str = "") -> Path:
    """Write a folder of (name, split, picture), each of a patient of its own."""
    lines = ["image,width,height,source,patient,finding,age_group,licence,split"]
    for number, (name, split, image) in enumerate(films):
        image.save(root / name)
        lines.append(f"{name},{image.width},{image.height},drawn,p{number},normal,adult,,{split}")
    (root / "images.csv").write_text("\n".join(lines) + "\n")
    (root / "regions.csv").write_text("image,anatomy,x0,y0,x1,y1,origin\n" + regions)
    return root


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """Return a folder whose film of split val is a smaller, darker JPEG of one of split train."""
    copy = picture(0).resize((WIDTH // 2, HEIGHT // 2)).point(lambda v: v * 0.8)
    films = [(f"{n}.png", "train", picture(n)) for n in range(4)]
    films += [("4.png", "train", picture(0)), ("copy.jpg", "val", copy), ("other.png", "val", picture(9))]
    return write(tmp_path, films, "0.png,spine,60,10,100,110,mask\n")


def check_data(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, str]:
    """Run the command and return exit code, output and errors."""
    monkeypatch.setattr(sys, "argv", ["regionmir", "model", "check-data", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0), *capsys.readouterr()


def test_a_copy_in_another_split_is_found_and_other_films_are_not(drawn: Path) -> None:
    found = near_duplicates_across_splits(read_folder(drawn))
    assert [(p.first.name, p.second.name) for p in found] == [("0.png", "copy.jpg"), ("4.png", "copy.jpg")]
    assert all(p.correlation > 0.98 and p.bits <= 16 for p in found)


def test_copies_within_one_split_are_no_leak(tmp_path: Path) -> None:
    same = write(tmp_path, [("a.png", "train", picture(1)), ("b.png", "train", picture(1))])
    assert near_duplicates_across_splits(read_folder(same)) == []


def test_copies_are_found_however_far_apart_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.data.duplicates._AT_ONCE", 2)
    films = [("a.png", "val", picture(1)), *((f"{n}.png", "train", picture(n)) for n in range(2, 6))]
    found = near_duplicates_across_splits(read_folder(write(tmp_path, [*films, ("z.png", "train", picture(1))])))
    assert [(p.first.name, p.second.name) for p in found] == [("a.png", "z.png")]


def test_an_image_that_cannot_be_hashed_is_named(drawn: Path) -> None:
    (drawn / "2.png").write_text("no image")
    with pytest.raises(DataError, match=r"2\.png: cannot be read as an image \(.*images\.csv, row 4\)"):
        near_duplicates_across_splits(read_folder(drawn))


def test_every_format_is_recognised(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert open_data(drawn).kind == "folder"
    (drawn / EXPORT).write_text('{"complete": true}')
    assert open_data(drawn).kind == "export of a node"
    made = SyntheticImaGenome(tmp_path_factory.mktemp("imagenome"))
    film = made.add("avoid")
    whole = made.write("zip")
    gold = made.write_gold([film])
    kinds = [open_data(path).kind for path in (whole, whole / "silver_dataset", gold)]
    assert kinds == ["Chest ImaGenome silver", "Chest ImaGenome silver", "Chest ImaGenome gold"]


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no data: neither images\.csv nor Chest ImaGenome"):
        open_data(tmp_path)


@pytest.mark.parametrize("text", ['{"complete": false}', "", "[]"])
def test_an_interrupted_export_is_refused(drawn: Path, text: str) -> None:
    (drawn / EXPORT).write_text(text)
    with pytest.raises(DataError, match=r"export\.json: the export was interrupted"):
        read_films(drawn)


def test_films_of_a_folder_come_by_split(drawn: Path) -> None:
    assert read_films(drawn) == read_folder(drawn)
    assert [f.name for f in read_split(drawn, "val")] == ["copy.jpg", "other.png"]
    assert open_data(drawn).splits() == ("train", "val")
    with pytest.raises(DataError, match="split 'test' has no films; splits here: train, val"):
        read_split(drawn, "test")


def test_check_data_counts_what_a_folder_holds(
    drawn: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = check_data(monkeypatch, capsys, drawn, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    assert (found["films"], found["patients"], found["persons_in_two_splits"]) == (7, 7, 0)
    assert found["splits"]["train"]["boxes"] == {"spine": 1}
    assert found["splits"]["val"]["findings"] == {"normal": 2}
    assert [pair["films"] for pair in found["near_duplicates"]] == [["0.png", "copy.jpg"], ["4.png", "copy.jpg"]]
    code, out, _ = check_data(monkeypatch, capsys, drawn)
    assert code == 0
    assert "folder: 7 films of 7 patients" in out
    assert "near duplicates across splits: 2" in out


def test_check_data_prints_the_noise_of_chest_imagenome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = SyntheticImaGenome(tmp_path)
    made.add("train", phrases=[("left lung", ["disease|yes|pneumonia"])])
    made.add("valid", all_objects(["left lung"]))
    code, out, err = check_data(monkeypatch, capsys, made.write(), "--no-pixels")
    assert code == 0, err
    assert "1  film without a box of every anatomy: kept" in out
    assert "not looked for" in out
    code, out, _ = check_data(monkeypatch, capsys, made.path, "--json")
    assert json.loads(out)["splits"]["train"]["regions_stated"] == {"pneumonia": 1}


def test_check_data_fails_with_one_line_that_names_file_and_row(
    drawn: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with (drawn / "regions.csv").open("a") as file:
        file.write("1.png,third lung,1,1,2,2,mask\n")
    code, _, err = check_data(monkeypatch, capsys, drawn)
    assert code == 1
    assert len(err.splitlines()) == 1
    assert "regions.csv, row 3: unknown anatomy 'third lung'" in err
