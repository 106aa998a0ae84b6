"""One way to films with boxes, whatever their format: a folder of ours, an export of a node, or Chest ImaGenome."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from models.data.errors import DataError
from models.data.films import Film, Progress
from models.data.folder import FolderData
from models.data.imagenome.gold import BOXES, GoldData
from models.data.imagenome.graphs import has_graphs
from models.data.imagenome.silver import SilverData
from models.data.noise import NoiseReport

EXPORT = "export.json"
"""What tells an export of a node from another folder: how it was made, and whether it is complete."""


class DataSet(Protocol):
    """Films with boxes. Patients are disjoint between splits, or reading raises `DataError`."""

    @property
    def kind(self) -> str:
        """The format, in words."""

    @property
    def path(self) -> Path: ...

    @property
    def noise(self) -> NoiseReport:
        """What was met and survived in the last pass of `films`."""

    def splits(self) -> tuple[str, ...]:
        """Return the names of the splits. Raises `DataError`."""

    def films(self, split: str | None = None, progress: Progress | None = None) -> Iterator[Film]:
        """Yield the films of one split, or of all, one at a time. Raises `DataError` that names file and row."""


def open_data(path: Path, images: Path | None = None) -> DataSet:
    """Return the data set in the folder `path`: for Chest ImaGenome the whole, `silver_dataset` or `gold_dataset`.

    The whole is read as silver; name `gold_dataset` for gold. `images`: the copy of MIMIC-CXR(-JPG), where it is not
    found by itself. Raises `DataError` where `path` holds none of the known formats.
    """
    if (path / "images.csv").is_file() or (path / EXPORT).is_file():
        return FolderData(path, _folder_kind(path))
    for silver in (path / "silver_dataset", path):
        if has_graphs(silver):
            return SilverData(silver, images)
    for gold in (path / "gold_dataset", path):
        if (gold / BOXES).is_file():
            return GoldData(gold, images)
    raise DataError(path, "holds no data: neither images.csv nor Chest ImaGenome's silver_dataset or gold_dataset")


def read_films(path: Path) -> list[Film]:
    """Return all films of the data set in `path`. Raises `DataError`."""
    return list(open_data(path).films())


def read_split(path: Path, split: str) -> list[Film]:
    """Return the films of one split. Raises `DataError`, also where it is empty; it then says what was left out."""
    data = open_data(path)
    films = list(data.films(split))
    if not films:
        lost = "; ".join(f"{count} x {kind}" for kind, count in data.noise.counts.items())
        known = ", ".join(data.splits())
        raise DataError(path, f"split {split!r} has no films; splits here: {known}{f' ({lost})' if lost else ''}")
    return films


def _folder_kind(path: Path) -> str:
    """Return what a folder is. Raises `DataError` for an export that was interrupted."""
    file = path / EXPORT
    try:
        made = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "folder"
    except ValueError:
        made = None
    if not isinstance(made, dict) or made.get("complete") is not True:
        raise DataError(file, "the export was interrupted: run the same `regionmir export --training` again")
    return "export of a node"
