"""Pictures become honest objects: derived, without invented facts, the same at every run."""

import csv
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from pydicom import dcmread
from typer.testing import CliRunner

from regionmir.admin.dicomize_commands import dicomize
from regionmir.pixels.decode import display_image
from regionmir.pixels.dicomize import FilmError, Naming, dicomize_films, read_films
from regionmir.pixels.eligibility import check_frontal_chest
from tests.support.films import chest_values

app = typer.Typer()
app.command()(dicomize)

COLUMNS = ("image", "width", "height", "source", "patient", "finding", "age_group", "licence", "split")


def picture(path: Path, seed: int, size: int = 64) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((chest_values(seed, size, size) * 255).astype(np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of four films of three patients, in the format of the shared data."""
    made = tmp_path / "films"
    rows = [
        ("images/a.png", 64, 64, "clinic", "p1", "normal", "adult", "CC BY 4.0", "train"),
        ("images/b.jpg", 64, 64, "clinic", "p1", "pneumonia", "adult", "CC BY 4.0", "val"),
        ("images/c.png", 64, 64, "clinic", "p2_bacteria", "", "child", "", "val"),
        ("images/d.png", 64, 64, "other", "p1", "", "", "", "val"),
    ]
    for seed, row in enumerate(rows):
        picture(made / str(row[0]), seed)
    write_list(made, [dict(zip(COLUMNS, map(str, row), strict=True)) for row in rows])
    return made


def write_list(folder: Path, rows: list[dict[str, str]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "images.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_films_become_secondary_captures_that_the_index_takes(folder: Path, tmp_path: Path) -> None:
    done = dicomize_films(read_films(folder), tmp_path / "out")
    assert (len(done.written), done.errors) == (4, ())
    for film in done.written:
        dataset = dcmread(tmp_path / "out" / film.file)
        assert check_frontal_chest(dataset) == ""
        with Image.open(folder / film.image) as original:
            grey = np.asarray(original.convert("L")) / 255
        image = display_image(dataset)
        np.testing.assert_allclose(image.values, grey, atol=1e-6)
        assert image.laterality_note == ""


def test_an_object_says_what_it_was_made_from(folder: Path, tmp_path: Path) -> None:
    done = dicomize_films(read_films(folder), tmp_path / "out")
    png, jpeg = (dcmread(tmp_path / "out" / done.written[i].file) for i in (0, 1))
    assert list(jpeg.ImageType) == ["DERIVED", "SECONDARY"]
    assert "8-bit JPEG" in jpeg.DerivationDescription
    assert "source 'clinic', licence: CC BY 4.0" in jpeg.DerivationDescription
    assert jpeg.LossyImageCompression == "01"
    assert "LossyImageCompression" not in png  # nobody knows
    assert "invented" in png.DerivationDescription


def test_an_object_claims_nothing_that_is_not_known(folder: Path, tmp_path: Path) -> None:
    done = dicomize_films(read_films(folder), tmp_path / "out")
    dataset = dcmread(tmp_path / "out" / done.written[0].file)
    unknown = "Manufacturer PixelSpacing ImagerPixelSpacing PatientAge ViewPosition KVP BurnedInAnnotation"
    assert not [keyword for keyword in unknown.split() if keyword in dataset]
    assert (dataset.PatientSex, dataset.PatientBirthDate) == ("", "")


def test_neither_finding_nor_origin_of_the_patient_is_in_the_object(folder: Path, tmp_path: Path) -> None:
    done = dicomize_films(read_films(folder), tmp_path / "out")
    for film in done.written:
        data = (tmp_path / "out" / film.file).read_bytes()
        assert not any(word in data for word in (b"pneumonia", b"normal", b"bacteria", b"images/"))
    with (tmp_path / "out" / "manifest.csv").open() as file:
        assert [row["finding"] for row in csv.DictReader(file)] == ["normal", "pneumonia", "", ""]


def test_a_second_run_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    for out in ("one", "two"):
        dicomize_films(read_films(folder), tmp_path / out)
    names = sorted(p.name for p in (tmp_path / "one").iterdir())
    assert names == [*(f"DEMO000{n}.dcm" for n in range(1, 5)), "manifest.csv"]
    assert all((tmp_path / "one" / n).read_bytes() == (tmp_path / "two" / n).read_bytes() for n in names)


def test_choosing_some_films_does_not_rename_them(folder: Path, tmp_path: Path) -> None:
    everything = dicomize_films(read_films(folder), tmp_path / "all").written
    chosen = dicomize_films([f for f in read_films(folder) if f.split == "val"], tmp_path / "some").written
    assert chosen == everything[1:]


def test_films_of_one_patient_share_an_identity_and_each_is_its_own_study(folder: Path, tmp_path: Path) -> None:
    written = dicomize_films(read_films(folder), tmp_path / "out").written
    people = [w.patient_id for w in written]
    assert people[0] == people[1]
    assert len(set(people)) == 3  # `p1` of another source is another person
    assert len({w.study_instance_uid for w in written}) == 4
    names = [str(dcmread(tmp_path / "out" / w.file).PatientName) for w in written]
    assert names == ["Demo^Film 0001", "Demo^Film 0001", "Demo^Film 0002", "Demo^Film 0003"]


def test_another_prefix_makes_other_patients(folder: Path, tmp_path: Path) -> None:
    films = read_films(folder)
    first = dicomize_films(films, tmp_path / "one").written
    second = dicomize_films(films, tmp_path / "two", naming=Naming("OTHER")).written
    assert second[0].accession_number == "OTHER0001"
    assert not {w.patient_id for w in first} & {w.patient_id for w in second}
    assert not {w.sop_instance_uid for w in first} & {w.sop_instance_uid for w in second}


def test_sides_that_nobody_knows_are_left_open(folder: Path, tmp_path: Path) -> None:
    naming = Naming(patient_orientation=(), burned_in_annotation="NO")
    dicomize_films(read_films(folder)[:1], tmp_path / "out", naming=naming)
    dataset = dcmread(tmp_path / "out" / "DEMO0001.dcm")
    assert not dataset.PatientOrientation
    assert dataset.BurnedInAnnotation == "NO"


def test_only_the_column_image_is_required_and_view_is_used(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 1)
    write_list(tmp_path, [{"image": "a.png", "view": "pa"}])
    written = dicomize_films(read_films(tmp_path), tmp_path / "out").written
    assert check_frontal_chest(dcmread(tmp_path / "out" / written[0].file)) == "PA"


def test_sixteen_bit_pictures_keep_their_depth(tmp_path: Path) -> None:
    values = (chest_values(1, 32, 32) * 65535).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    write_list(tmp_path, [{"image": "deep.png"}])
    dicomize_films(read_films(tmp_path), tmp_path / "out")
    dataset = dcmread(tmp_path / "out" / "DEMO0001.dcm")
    assert dataset.BitsStored == 16
    np.testing.assert_array_equal(dataset.pixel_array, values)


def test_a_bad_film_is_reported_with_its_row_and_the_others_go_on(folder: Path, tmp_path: Path) -> None:
    (folder / "images/a.png").unlink()
    (folder / "images/b.jpg").write_bytes(b"no picture")
    picture(folder / "images/c.png", 3, size=32)
    done = dicomize_films(read_films(folder), tmp_path / "out")
    assert [w.image for w in done.written] == ["images/d.png"]
    assert done.errors == (
        "row 2, images/a.png: No such file or directory",
        "row 3, images/b.jpg: no readable PNG or JPEG (UnidentifiedImageError)",
        "row 4, images/c.png: the picture has 32 x 32 pixels, the list says 64 x 64",
    )


def test_a_film_listed_twice_is_made_once(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 1)
    write_list(tmp_path, [{"image": "a.png"}, {"image": "a.png"}])
    done = dicomize_films(read_films(tmp_path), tmp_path / "out")
    assert (len(done.written), done.errors) == (1, ("row 3, a.png: listed twice",))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"picture": "a.png"}, "no column 'image'"),
        ({"image": "../a.png"}, "row 2: '../a.png' is outside the folder"),
        ({"image": "/etc/a.png"}, "outside the folder"),
        ({"image": " "}, "row 2: column 'image' is empty"),
        ({"image": "a.png", "width": "wide", "height": "3"}, "row 2: width and height must be whole numbers"),
        ({"image": "a.png", "view": "lateral"}, "row 2: view must be PA, AP or empty"),
    ],
)
def test_a_wrong_list_is_refused_with_file_and_row(tmp_path: Path, row: dict[str, str], message: str) -> None:
    write_list(tmp_path, [row])
    with pytest.raises(FilmError, match=message) as refused:
        read_films(tmp_path)
    assert "images.csv" in str(refused.value)


def test_a_folder_without_a_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FilmError, match=r"images\.csv: not found"):
        read_films(tmp_path)


def test_the_command_writes_what_was_asked_for(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = CliRunner().invoke(
        app, [str(folder), "--out", str(out), "--split", "val", "--source", "clinic", "--limit", "1"]
    )
    assert ran.exit_code == 0, ran.output
    assert sorted(p.name for p in out.iterdir()) == ["DEMO0002.dcm", "manifest.csv"]
    assert "1 objects in" in ran.output


def test_the_command_fails_when_a_film_was_skipped_or_none_was_chosen(folder: Path, tmp_path: Path) -> None:
    (folder / "images/a.png").unlink()
    out = str(tmp_path / "out")
    skipped = CliRunner().invoke(app, [str(folder), "--out", out])
    assert skipped.exit_code == 1
    assert "skipped: row 2, images/a.png" in skipped.output
    assert (tmp_path / "out" / "DEMO0002.dcm").is_file()
    assert CliRunner().invoke(app, [str(folder), "--out", out, "--split", "none"]).exit_code == 1


@pytest.mark.parametrize("option", [("--orientation", "left"), ("--burned-in", "perhaps"), ("--prefix", "a b")])
def test_the_command_names_a_wrong_option(folder: Path, tmp_path: Path, option: tuple[str, str]) -> None:
    ran = CliRunner().invoke(app, [str(folder), "--out", str(tmp_path / "out"), *option])
    assert ran.exit_code == 2
    assert "error:" in ran.output
