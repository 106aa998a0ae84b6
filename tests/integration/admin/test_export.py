"""`regionmir export --training` on a real database and object store, read back as training reads it."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from db import audit, training, visibility
from db.engine import Database
from models.data.dataset import open_data, read_films
from models.data.errors import DataError
from models.data.films import Film
from regionmir.admin import training_export
from regionmir.admin.main import main
from regionmir.admin.training_export import ExportOptions
from regionmir.core.anatomy import anatomy_by_short
from regionmir.core.errors import NotIndexable
from regionmir.core.geometry import Box
from regionmir.storage import FileStore
from tests.support.fake_model import PLACES, FakeModel
from tests.support.filing import file_film
from tests.support.films import synthetic_film
from workers.indexer import Indexer

ROWS, COLUMNS = 96, 80


@dataclass
class Export:
    """Runs `regionmir export --training` on a node's data; `err` is what it printed last on standard error."""

    database: Database
    store: FileStore
    monkeypatch: pytest.MonkeyPatch
    captured: pytest.CaptureFixture[str]
    out: Path
    err: str = ""

    def file(self, seed: int, **options: Any) -> str:
        options = {"rows": ROWS, "columns": COLUMNS, "bits": 8} | options
        return file_film(self.database, self.store, synthetic_film(seed, **options))

    def index(self) -> None:
        indexer = Indexer(self.database, self.store, FakeModel(), 8, lease_s=60)
        indexer.drain()
        indexer.close()
        self.captured.readouterr()

    def __call__(self, *arguments: object) -> tuple[int, dict[str, Any]]:
        line = ["regionmir", "export", "--training", str(self.out), "--json", *map(str, arguments)]
        self.monkeypatch.setattr(sys, "argv", line)
        with pytest.raises(SystemExit) as ended:
            main()
        out, self.err = self.captured.readouterr()
        return int(ended.value.code or 0), json.loads(out or "{}")


@pytest.fixture
def export(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Export:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGIONMIR_DATA_DIR", str(tmp_path / "node"))
    monkeypatch.setenv("REGIONMIR_DATABASE_URL", database.url.render_as_string(hide_password=False))
    return Export(database, FileStore(tmp_path / "node"), monkeypatch, capsys, tmp_path / "out")


def has_box(film: Film, short: str) -> bool:
    """Say whether the region lies where the model of these tests sees it on every film."""
    x0, y0, x1, y1 = PLACES[short]
    expected = Box(x0 * film.width, y0 * film.height, x1 * film.width, y1 * film.height)
    return film.boxes[anatomy_by_short(short).key].iou(expected) > 0.99


def test_films_come_out_as_viewed_with_their_boxes_under_pseudonyms(export: Export) -> None:
    uids = [export.file(1), export.file(2, patient=1), export.file(3, PatientOrientation=["R", "F"])]
    export.index()
    code, found = export()
    assert code == 0, export.err
    assert (found["films"], found["boxes"], found["left_out"]) == (3, 3 * len(PLACES), {})
    films = read_films(export.out)
    assert open_data(export.out).kind == "export of a node"
    assert all(has_box(film, short) for film in films for short in PLACES)
    assert {origin for film in films for origin in film.origins.values()} == {"detected"}
    assert films[0].patient == films[1].patient != films[2].patient
    assert [f.age_group for f in films] == ["adult"] * 3
    turned = np.frombuffer(synthetic_film(3, rows=ROWS, columns=COLUMNS, bits=8).PixelData, np.uint8)
    with Image.open(films[2].path) as picture:
        assert picture.mode == "L"
        shown = np.asarray(picture).astype(int)
    assert np.abs(shown - turned[: ROWS * COLUMNS].reshape(ROWS, COLUMNS)[:, ::-1]).max() <= 2
    written = "".join(f"{p.name}\n" for p in export.out.rglob("*"))
    written += "".join(p.read_text() for p in export.out.glob("*.*"))
    for word in (*uids, "SYN", "Synthetic", "Invented", "1.2.840"):
        assert word not in written


def test_films_of_hidden_studies_are_no_part_of_an_export(export: Export, database: Database) -> None:
    export.file(1)
    hidden = synthetic_film(2, rows=ROWS, columns=COLUMNS, bits=8)
    file_film(database, export.store, hidden)
    export.index()
    with database.session() as session:
        assert visibility.hide(session, [hidden.StudyInstanceUID], "deleted") == 1
        assert training.count_indexed(session) == 1
    code, found = export()
    assert (code, found["films"]) == (0, 1), export.err


def test_pictures_are_made_smaller_with_their_boxes(export: Export) -> None:
    export.file(1)
    export.index()
    assert export("--size", 48)[0] == 0
    (film,) = read_films(export.out)
    assert (film.width, film.height) == (40, 48)
    assert has_box(film, "CARD")


def test_labels_are_joined_by_uid_or_accession_number(export: Export, tmp_path: Path) -> None:
    uid, _, _ = export.file(1), export.file(2), export.file(3)
    export.index()
    labels = tmp_path / "labels.csv"
    labels.write_text(f"sop_instance_uid,accession_number,finding\n{uid},,normal\n,SYN000002,pneumonia\n9.9,,normal\n")
    code, found = export("--labels", labels)
    assert (code, found["labelled"], found["labels_unused"]) == (0, 2, 1)
    assert [f.finding for f in read_films(export.out)] == ["normal", "pneumonia", ""]


def test_patients_stand_in_the_split_that_the_stated_rule_gives(export: Export) -> None:
    for seed in range(12):
        export.file(seed, patient=seed % 6)
    export.index()
    assert export("--val-percent", 30, "--test-percent", 30)[0] == 0
    options = ExportOptions(1024, 30, 30)
    films = read_films(export.out)
    assert len(films) == 12
    assert all(film.split == options.split(film.patient) for film in films)
    assert json.loads((export.out / "export.json").read_text())["split_rule"] == training_export.SPLIT_RULE


def test_what_must_not_leave_or_cannot_be_read_is_left_out_and_counted(export: Export, database: Database) -> None:
    export.file(1)
    export.file(2, BurnedInAnnotation="YES")
    pixels = synthetic_film(1, rows=ROWS, columns=COLUMNS, bits=8).PixelData
    export.file(3, PixelData=pixels)
    export.file(4)
    export.index()
    broken = training_export._picture

    def picture(source: Path, target: Path, *rest: Any) -> Any:
        if len(list(target.parent.iterdir())) == 1:
            raise NotIndexable("spoilt")
        return broken(source, target, *rest)

    export.monkeypatch.setattr(training_export, "_picture", picture)
    code, found = export()
    assert code == 0, export.err
    assert found["films"] == 1
    assert found["left_out"] == {
        "text may be burned in, or no radiograph": 1,
        "same pixels as an earlier film": 1,
        "object cannot be read": 1,
    }
    with database.session() as session:
        (event,) = audit.listing(session, kinds=["training export"])
    assert event.detail["films"] == 1


def test_an_interrupted_export_is_known_as_one_and_goes_on(export: Export) -> None:
    for seed in range(3):
        export.file(seed)
    export.index()
    whole = training_export._picture

    def interrupted(source: Path, target: Path, *rest: Any) -> Any:
        if len(list(target.parent.iterdir())) == 2:
            raise OSError(28, "No space left on device")
        return whole(source, target, *rest)

    export.monkeypatch.setattr(training_export, "_picture", interrupted)
    assert export()[0] == 1
    assert "the disk is full; free space" in export.err
    with pytest.raises(DataError, match="the export was interrupted"):
        read_films(export.out)
    before = {p: p.stat().st_mtime_ns for p in (export.out / "images").iterdir()}
    assert len(before) == 2
    export.monkeypatch.setattr(training_export, "_picture", whole)
    assert export("--size", 50)[0] == 2
    assert "by other options or another model" in export.err
    code, found = export()
    assert (code, found["films"]) == (0, 3)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    films = read_films(export.out)
    assert all(has_box(film, short) for film in films for short in PLACES)


def test_a_folder_with_something_in_it_is_refused(export: Export) -> None:
    export.file(1)
    export.index()
    export.out.mkdir()
    (export.out / "thesis.txt").write_text("mine")
    assert export()[0] == 2
    assert "is not empty and no interrupted export" in export.err
    (export.out / "thesis.txt").unlink()
    assert export()[0] == 0
    assert export()[0] == 2
    assert "holds a complete export" in export.err


def test_a_node_without_indexed_films_has_nothing_to_export(export: Export) -> None:
    export.file(1)
    assert export()[0] == 2
    assert "nothing is indexed yet" in export.err
    assert not export.out.exists()
