"""Scene graphs read one at a time from a folder, a folder within it, or the zip file as published."""

import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from models.data.errors import DataError

_END = "_SceneGraph.json"


class SceneGraphs(Protocol):
    """Scene graphs by the film's `dicom_id`."""

    def read(self, dicom: str) -> dict[str, Any] | None:
        """Return one, None where there is none. Raises `DataError` where it is no scene graph."""

    def names(self) -> Iterator[str]:
        """Yield the `dicom_id` of each."""


@contextmanager
def open_graphs(silver: Path) -> Iterator[SceneGraphs]:
    """Give the scene graphs of the folder `silver_dataset`. Raises `DataError` where there are none."""
    for folder in (silver / "scene_graph" / "scene_graph", silver / "scene_graph"):
        if folder.is_dir() and next(folder.glob(f"*{_END}"), None) is not None:
            yield _Folder(folder)
            return
    file = silver / "scene_graph.zip"
    try:
        with zipfile.ZipFile(file) as opened:
            yield _Zip(file, opened)
    except FileNotFoundError:
        raise DataError(silver, "has neither scene_graph/<dicom_id>_SceneGraph.json nor scene_graph.zip") from None
    except zipfile.BadZipFile:
        raise DataError(file, "is no zip file, or a damaged one") from None


def has_graphs(folder: Path) -> bool:
    """Say whether `folder` is a `silver_dataset`."""
    return (folder / "scene_graph").is_dir() or (folder / "scene_graph.zip").is_file()


class _Folder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, dicom: str) -> dict[str, Any] | None:
        file = self._folder / f"{dicom}{_END}"
        try:
            return _parsed(file.read_bytes(), file)
        except FileNotFoundError:
            return None

    def names(self) -> Iterator[str]:
        return (e.name.removesuffix(_END) for e in os.scandir(self._folder) if _is_graph(e.name))


class _Zip:
    def __init__(self, file: Path, opened: zipfile.ZipFile) -> None:
        self._file, self._opened = file, opened
        names = (info.filename for info in opened.infolist())
        self._names = {Path(name).name: name for name in names if _is_graph(Path(name).name)}

    def read(self, dicom: str) -> dict[str, Any] | None:
        name = self._names.get(f"{dicom}{_END}")
        return None if name is None else _parsed(self._opened.read(name), f"{self._file}, {name}")

    def names(self) -> Iterator[str]:
        return (name.removesuffix(_END) for name in self._names)


def _is_graph(name: str) -> bool:
    return name.endswith(_END) and not name.startswith("._")  # what macOS adds to zip files


def _parsed(content: bytes, file: Path | str) -> dict[str, Any]:
    try:
        graph = json.loads(content.decode("utf-8-sig"))
    except ValueError as error:
        raise DataError(file, f"is no JSON in UTF-8 ({type(error).__name__})") from None
    if not isinstance(graph, dict):
        raise DataError(file, "is no scene graph")
    return graph
