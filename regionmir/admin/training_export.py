"""Writes indexed films of a node as a folder to train on: PNG pictures, detected boxes, pseudonymous patients.

The folder has the format of `models.data.folder`. Pictures come first, each complete or absent; tables and the word
"complete" in `export.json` come last, so that an interrupted export is known as one and can go on.
"""

import csv
import errno
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from db import generations, training
from db.engine import Database
from db.generations import ActiveModel
from db.training import IndexedInstance
from models.data.dataset import EXPORT
from models.data.folder import REGION_COLUMNS
from regionmir.admin.labels import Labels
from regionmir.core.errors import ConfigurationError, InvalidBox, NotIndexable, RegionMirError, StorageFull
from regionmir.core.geometry import Box
from regionmir.pixels.decode import read_dataset
from regionmir.pixels.draw import encoded, fitted, grey
from regionmir.pixels.guarded import display_image
from regionmir.pixels.orientation import Turn, turn_of
from regionmir.web.pictures import why_withheld

ORIGIN = "detected"
SOURCE = "node"
SPLIT_RULE = "by the first 8 bytes of SHA-256 of the patient's pseudonym, modulo 100: test, then val, else train"

_COLUMNS = ("image", "width", "height", "source", "patient", "finding", "age_group", "licence", "split")
_PAGE = 200
_ADULT_YEARS = 18


class ObjectPaths(Protocol):
    """Says where a stored object is, by its key."""

    def path(self, key: str) -> Path: ...


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What an export is made by: one that goes on must be asked for in the same way."""

    size: int
    """Longer side of the pictures in pixels at most; 0: as stored."""
    val_percent: int
    test_percent: int

    def __post_init__(self) -> None:
        if self.val_percent + self.test_percent > 100:
            raise ConfigurationError("the shares of val and test are more than 100 % together")

    def split(self, patient: str) -> str:
        """Return the split of a patient: the same in every export, whoever else is in it."""
        place = int.from_bytes(sha256(patient.encode()).digest()[:8], "big") % 100
        if place < self.test_percent:
            return "test"
        return "val" if place < self.test_percent + self.val_percent else "train"


@dataclass(frozen=True, slots=True)
class Exported:
    """What became of the indexed instances."""

    films: int
    boxes: int
    labelled: int
    left_out: dict[str, int]
    """How many were left out, by reason."""


@dataclass(frozen=True, slots=True)
class _Film:
    picture: Path
    size: tuple[int, int]
    boxes: list[tuple[str, Box]]
    """(name of the anatomy, box in pixels of the picture)"""


class _LeftOut(Exception):
    pass


def export_training(
    database: Database,
    objects: ObjectPaths,
    out: Path,
    options: ExportOptions,
    labels: Labels,
    *,
    max_pixels: int,
    progress: Callable[[int, int], None],
) -> Exported:
    """Write all indexed films that may leave pseudonymously to `out`, which is new, empty, or was interrupted.

    Raises `ConfigurationError` for any other folder and where nothing was ever indexed, `StorageFull`, `Transient`.
    """
    with database.session() as session:
        model, total = generations.active(session), training.count_indexed(session)
    if model is None or not total:
        raise ConfigurationError("nothing is indexed yet: there is nothing to export")
    begun = _begin(out, model, options)
    try:
        made = _write(_films(database, model.pk, progress, total), objects, out, options, labels, max_pixels)
        _write_json(out / EXPORT, {**begun, "complete": True, **asdict(made)})
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StorageFull(f"{out}: the disk is full; free space, then run the same command again") from None
        raise RegionMirError(f"{out} cannot be written ({error.strerror or type(error).__name__})") from None
    return made


def _begin(out: Path, model: ActiveModel, options: ExportOptions) -> dict[str, Any]:
    """Make the folder and mark it as not complete; return what says how the export is made."""
    info = model.info
    about = {
        "format": 1,
        "model": {"name": info.name, "version": info.version, "weights_sha256": info.weights_sha256},
        "options": asdict(options),
        "split_rule": SPLIT_RULE,
    }
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(out.iterdir()):
        _check_goes_on(out, about)
    (out / "images").mkdir(exist_ok=True)
    _write_json(out / EXPORT, {**about, "complete": False})
    return about


def _check_goes_on(out: Path, about: dict[str, Any]) -> None:
    try:
        earlier = json.loads((out / EXPORT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ConfigurationError(f"{out} is not empty and no interrupted export: choose another folder") from None
    if earlier.get("complete"):
        raise ConfigurationError(f"{out} holds a complete export: choose another folder")
    if any(earlier.get(key) != value for key, value in about.items()):
        raise ConfigurationError(f"{out} holds an interrupted export by other options or another model: remove it")


def _films(
    database: Database, model_pk: int, progress: Callable[[int, int], None], total: int
) -> Iterator[IndexedInstance]:
    """Yield the indexed instances, page by page: no transaction is open while pixels are decoded."""
    after = done = 0
    while True:
        with database.session() as session:
            page = training.indexed_page(session, model_pk, after=after, limit=_PAGE)
        if not page:
            return
        for found in page:
            yield found
            done += 1
            progress(done, max(total, done))
        after = page[-1].instance.pk


def _write(
    films: Iterator[IndexedInstance],
    objects: ObjectPaths,
    out: Path,
    options: ExportOptions,
    labels: Labels,
    max_pixels: int,
) -> Exported:
    """Write pictures and both tables; the tables get their names when they are complete."""
    left_out, seen = Counter[str](), set[str]()
    written = boxes = labelled = 0
    with ExitStack() as stack:
        images = stack.enter_context(_Table(out / "images.csv", _COLUMNS))
        regions = stack.enter_context(_Table(out / "regions.csv", REGION_COLUMNS))
        for found in films:
            try:
                film = _film(found, objects, out, options.size, seen, max_pixels)
            except _LeftOut as why:
                left_out[str(why)] += 1
                continue
            name = film.picture.relative_to(out).as_posix()
            finding = labels.finding(found.sop_instance_uid, found.accession_number)
            split, age_group = options.split(found.patient), _age_group(found.instance.age_years)
            images.row(name, *film.size, SOURCE, found.patient, finding, age_group, "", split)
            for anatomy, box in film.boxes:
                regions.row(name, anatomy, *(f"{v:.2f}" for v in box.as_tuple()), ORIGIN)
            written, boxes, labelled = written + 1, boxes + len(film.boxes), labelled + bool(finding)
    return Exported(written, boxes, labelled, dict(left_out))


def _film(found: IndexedInstance, objects: ObjectPaths, out: Path, size: int, seen: set[str], max_pixels: int) -> _Film:
    """Return one film, its picture written. Raises `_LeftOut` with the reason."""
    if why_withheld(found.instance):
        raise _LeftOut("text may be burned in, or no radiograph")
    if not found.instance.regions:
        raise _LeftOut("no region of the active model")
    if found.pixel_sha256 and found.pixel_sha256 in seen:
        raise _LeftOut("same pixels as an earlier film")
    picture = out / "images" / f"{found.instance.uid}.png"
    try:
        made = _picture(objects.path(found.instance.storage_key), picture, size, max_pixels)
    except (NotIndexable, FileNotFoundError):
        raise _LeftOut("object cannot be read") from None
    seen.add(found.pixel_sha256)
    turn, stored, shown = made
    return _Film(picture, shown, list(_boxes(found, turn, stored, shown)))


def _picture(source: Path, picture: Path, size: int, max_pixels: int) -> tuple[Turn, tuple[int, int], tuple[int, int]]:
    """Write the picture if it is not there; return the turn, (rows, columns) as stored, and (width, height)."""
    if picture.is_file():
        dataset = read_dataset(source, max_pixels=max_pixels)
        with Image.open(picture) as opened:
            return turn_of(dataset)[0], (int(dataset.Rows), int(dataset.Columns)), opened.size
    image = display_image(source, max_pixels=max_pixels)
    shown = grey(image.values)
    if size and max(shown.size) > size:
        shown = fitted(shown, size, size)
    _replace(picture, encoded(shown))
    return image.turn, image.stored_size, shown.size


def _boxes(
    found: IndexedInstance, turn: Turn, stored: tuple[int, int], shown: tuple[int, int]
) -> Iterator[tuple[str, Box]]:
    rows, columns = stored
    width, height = (rows, columns) if turn.transposed else (columns, rows)
    scale_x, scale_y = shown[0] / width, shown[1] / height
    for region in found.instance.regions:
        seen = turn.from_stored(region.box, rows, columns)
        try:
            box = Box(seen.x0 * scale_x, seen.y0 * scale_y, seen.x1 * scale_x, seen.y1 * scale_y).clipped(*shown)
        except InvalidBox:
            continue
        if min(box.width, box.height) >= 1:
            yield region.anatomy.name, box


def _age_group(years: float | None) -> str:
    if years is None:
        return ""
    return "adult" if years >= _ADULT_YEARS else "child"


class _Table:
    """A CSV file that appears under its name when it is complete."""

    def __init__(self, file: Path, columns: tuple[str, ...]) -> None:
        self._file, self._columns = file, columns
        self._part = file.with_suffix(".part")

    def __enter__(self) -> "_Table":
        self._stream = self._part.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._stream, lineterminator="\n")
        self._writer.writerow(self._columns)
        return self

    def row(self, *values: object) -> None:
        """Write one row, in the order of the columns."""
        self._writer.writerow(values)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stream.close()
        if kind is None:
            self._part.replace(self._file)


def _write_json(file: Path, value: dict[str, Any]) -> None:
    _replace(file, (json.dumps(value, indent=2) + "\n").encode())


def _replace(file: Path, content: bytes) -> None:
    part = file.with_suffix(".part")
    part.write_bytes(content)
    part.replace(file)
