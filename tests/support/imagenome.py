"""Writes synthetic data in the schema of Chest ImaGenome and MIMIC-CXR-JPG: drawn films, invented patients, noise."""

import csv
import json
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from models.data.imagenome.gold import BOXES, STATEMENTS
from regionmir.core.anatomy import anatomies
from tests.support.films import chest_values, write_film

NAMES = tuple(a.name for a in anatomies())
SEVEN_MORE = (
    "right cardiophrenic angle",
    "left cardiophrenic angle",
    "left cardiac silhouette",
    "right cardiac silhouette",
    "descending aorta",
    "left upper abdomen",
    "right upper abdomen",
)
SIZE = (90, 120)
"""Width and height of a film unless told."""

_ACROSS = {"right": (0.10, 0.40), "left": (0.60, 0.90)}
_LIST_COLUMNS = ("", "subject_id", "study_id", "dicom_id", "path", "ViewPosition")
_GOLD_COLUMNS = (
    "image_id", "x1", "y1", "x2", "y2", "width", "height", "bbox_name", "annot_id", "original_x1", "original_x2",
    "original_y1", "original_y2", "original_width", "original_height", "annotator", "coord224", "coord_original",
)  # fmt: skip
_STATEMENT_COLUMNS = (
    "image_id", "bbox", "row_id", "sentence", "section", "attribute", "context", "categoryID", "label_name",
)  # fmt: skip


def corners_of(name: str, size: tuple[int, int] = SIZE) -> tuple[int, int, int, int]:
    """Return where the anatomy lies on every film: right ones left, left ones right, others in the middle."""
    place = NAMES.index(name) if name in NAMES else 0
    x0, x1 = _ACROSS.get(name.split()[0], (0.40, 0.60))
    y0 = 0.05 + 0.02 * place
    return round(x0 * size[0]), round(y0 * size[1]), round(x1 * size[0]), round((y0 + 0.3) * size[1])


def scene_object(
    name: str, corners: Sequence[float] | None = None, size: tuple[int, int] = SIZE, **changes: Any
) -> dict[str, Any]:
    """Return an object of a scene graph with both frames; `changes` replace keys, None removes one."""
    x0, y0, x1, y1 = corners if corners is not None else corners_of(name, size)
    ratio = max(size) / 224
    left, top = ((224 - side / ratio) / 2 for side in size)
    made: dict[str, Any] = {
        "object_id": name,
        "x1": round(x0 / ratio + left), "y1": round(y0 / ratio + top),
        "x2": round(x1 / ratio + left), "y2": round(y1 / ratio + top),
        "width": round((x1 - x0) / ratio), "height": round((y1 - y0) / ratio),
        "bbox_name": name, "synsets": [], "name": name.title(),
        "original_x1": x0, "original_y1": y0, "original_x2": x1, "original_y2": y1,
        "original_width": x1 - x0, "original_height": y1 - y0,
    }  # fmt: skip
    made |= changes
    return {key: value for key, value in made.items() if value is not None}


def all_objects(names: Iterable[str] = NAMES, size: tuple[int, int] = SIZE) -> list[dict[str, Any]]:
    """Return one sound object for each name."""
    return [scene_object(name, size=size) for name in names]


@dataclass
class SyntheticFilm:
    """One film to write. `phrases`: for each (anatomy, tokens of one phrase)."""

    subject: int
    study: int
    dicom: str
    split: str
    objects: list[Any]
    phrases: Sequence[tuple[str, Sequence[str]]] = ()
    size: tuple[int, int] = SIZE
    image: Literal["jpg", "dcm", ""] = "jpg"
    graph: bool = True
    patient_id: int | None = None
    """What the scene graph says; None: the truth."""

    @property
    def scene_graph(self) -> dict[str, Any]:
        """Return the film's scene graph."""
        attributes = [
            {"bbox_name": name, "attributes": [list(tokens)], "phrases": ["Invented."], "object_id": name}
            for name, tokens in self.phrases
        ]
        return {
            "image_id": self.dicom, "viewpoint": "AP", "patient_id": self.patient_id or self.subject,
            "study_id": self.study, "gender": "F", "age_decile": "50-60", "StudyOrder": 1,
            "StudyDateTime": "2180-01-01",
            "objects": self.objects, "attributes": attributes, "relationships": [],
        }  # fmt: skip


@dataclass
class SyntheticImaGenome:
    """Collects films and writes them below `root`: `chest-imagenome/1.0.0` and, beside it, `mimic-cxr-jpg/2.1.0`."""

    root: Path
    films: list[SyntheticFilm] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return self.root / "chest-imagenome" / "1.0.0"

    def add(
        self, split: str, objects: list[Any] | None = None, subject: int | None = None, **rest: Any
    ) -> SyntheticFilm:
        """Add a film to `split` (`avoid`: to the images to avoid; "": to no list); sound unless told otherwise."""
        number = len(self.films)
        found = all_objects(size=rest.get("size", SIZE)) if objects is None else objects
        film = SyntheticFilm(
            subject or 10000000 + number, 50000000 + number, f"{number:08x}-0000", split, found, **rest
        )
        self.films.append(film)
        return film

    def image(self, film: SyntheticFilm, suffix: str | None = None) -> Path:
        """Return where the film's image lies."""
        person = str(film.subject)
        folder = self.root / "mimic-cxr-jpg" / "2.1.0" / "files" / f"p{person[:2]}" / f"p{person}" / f"s{film.study}"
        return folder / f"{film.dicom}.{suffix or film.image}"

    def write(self, graphs: Literal["folder", "nested", "zip"] = "folder") -> Path:
        """Write images, scene graphs (UTF-8 with byte order mark) and lists; return the folder of the data set."""
        silver = self.path / "silver_dataset"
        (silver / "splits").mkdir(parents=True)
        for number, film in enumerate(self.films):
            self._write_image(film, number)
        contents = {f"{f.dicom}_SceneGraph.json": json.dumps(f.scene_graph) for f in self.films if f.graph}
        if graphs == "zip":
            with zipfile.ZipFile(silver / "scene_graph.zip", "w") as file:
                for name, text in contents.items():
                    file.writestr(f"scene_graph/{name}", text.encode("utf-8-sig"))
                    file.writestr(f"__MACOSX/scene_graph/._{name}", b"\0")
        else:
            folder = silver / "scene_graph" / ("scene_graph" if graphs == "nested" else "")
            folder.mkdir(parents=True)
            for name, text in contents.items():
                (folder / name).write_text(text, encoding="utf-8-sig")
        for name, split in (("train", "train"), ("valid", "valid"), ("test", "test"), ("images_to_avoid", "avoid")):
            listed = [f for f in self.films if f.split == split]
            _write_table(silver / "splits" / f"{name}.csv", _LIST_COLUMNS, map(_listed, range(len(listed)), listed))
        return self.path

    def write_gold(self, films: Iterable[SyntheticFilm]) -> Path:
        """Write the gold tables of `films`, which must be of split `avoid`; return their folder."""
        gold = self.path / "gold_dataset"
        gold.mkdir(parents=True)
        chosen = list(films)
        _write_table(gold / BOXES, _GOLD_COLUMNS, (_gold_box(f, o) for f in chosen for o in f.objects))
        lines = [_gold_statement(f, n, t) for f in chosen for n, tokens in f.phrases for t in tokens]
        _write_table(gold / STATEMENTS, _STATEMENT_COLUMNS, lines, "\t")
        return gold

    def _write_image(self, film: SyntheticFilm, number: int) -> None:
        if not film.image:
            return
        path, (width, height) = self.image(film), film.size
        if film.image == "dcm":
            write_film(path, number, rows=height, columns=width)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        values = chest_values(number, height, width)
        Image.fromarray((values * 255).astype(np.uint8)).save(path, quality=95)


def _listed(number: int, film: SyntheticFilm) -> tuple[object, ...]:
    person = str(film.subject)
    path = f"files/p{person[:2]}/p{person}/s{film.study}/{film.dicom}.dcm"
    return number, person, film.study, film.dicom, path, "AP"


def _gold_box(film: SyntheticFilm, one: dict[str, Any]) -> tuple[object, ...]:
    values = {
        **one,
        "image_id": f"{film.dicom}.dcm",
        "annot_id": 1,
        "annotator": "A",
        "coord224": [one.get(k) for k in ("x1", "y1", "x2", "y2")],
        "coord_original": "[]",
    }
    return tuple(values.get(column, "") for column in _GOLD_COLUMNS)


def _gold_statement(film: SyntheticFilm, name: str, token: str) -> tuple[object, ...]:
    category, context, label = token.split("|")
    sentence = 'Invented, with a "quotation".'
    return f"{film.dicom}.dcm", name, 1, sentence, "findings", token, context, category, label


def _write_table(file: Path, columns: Sequence[str], rows: Iterable[Sequence[object]], delimiter: str = ",") -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, delimiter=delimiter)
        table.writerow(columns)
        table.writerows(rows)
