"""Reader of a folder with `images.csv`, `regions.csv` and the images that they name."""

import csv
from collections.abc import Iterator
from pathlib import Path

from models.data.errors import DataError
from models.data.films import Film, assert_disjoint
from regionmir.core.anatomy import anatomy_by_name
from regionmir.core.errors import InvalidBox, UnknownAnatomy
from regionmir.core.geometry import Box

IMAGE_COLUMNS = ("image", "width", "height", "source", "patient", "finding", "age_group", "split")
REGION_COLUMNS = ("image", "anatomy", "x0", "y0", "x1", "y1", "origin")
MIN_INSIDE = 0.25
"""A box with less of its area inside the image is refused; else the outside is cut off."""


def read_folder(folder: Path) -> list[Film]:
    """Return all films of `folder`, patients disjoint between splits.

    Raises `DataError` that names file and row (1 is the row of names).
    """
    films = {f.name: f for _, f in _films(folder)}
    for row, line in _rows(folder / "regions.csv", REGION_COLUMNS):
        _add_box(films, line, folder / "regions.csv", row)
    assert_disjoint(films.values(), folder / "images.csv")
    return list(films.values())


def read_split(folder: Path, split: str) -> list[Film]:
    """Return the films of one split. Raises `DataError`, also where it is empty."""
    films = read_folder(folder)
    chosen = [f for f in films if f.split == split]
    if not chosen:
        known = ", ".join(sorted({f.split for f in films}))
        raise DataError(folder / "images.csv", f"split {split!r} has no films; splits here: {known}")
    return chosen


def _rows(file: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            missing = [c for c in columns if c not in (reader.fieldnames or [])]
            if missing:
                raise DataError(file, f"lacks the columns {', '.join(missing)}", 1)
            for row, line in enumerate(reader, start=2):
                if any(line[c] is None for c in columns):
                    raise DataError(file, "has too few values", row)
                yield row, line
    except FileNotFoundError:
        raise DataError(file, "does not exist") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(file, f"is no CSV file in UTF-8 ({error})") from None


def _films(folder: Path) -> Iterator[tuple[int, Film]]:
    file, seen = folder / "images.csv", set()
    for row, line in _rows(file, IMAGE_COLUMNS):
        name = line["image"]
        if name in seen:
            raise DataError(file, f"names {name} a second time", row)
        seen.add(name)
        path = folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise DataError(file, f"{name} lies outside the folder", row)
        if not line["patient"] or not line["split"]:
            raise DataError(file, "patient and split must not be empty", row)
        width, height = (_whole(line, column, file, row) for column in ("width", "height"))
        texts = {c: line[c] for c in ("source", "patient", "finding", "age_group", "split")}
        mask = _mask_of(folder, name)
        yield row, Film(name=name, path=path, width=width, height=height, boxes={}, origins={}, mask=mask, **texts)


def _mask_of(folder: Path, name: str) -> Path | None:
    """Return the label map `masks/...png` of the image `images/...`, None where there is none."""
    if not name.startswith("images/"):
        return None
    mask = folder / "masks" / Path(name).relative_to("images").with_suffix(".png")
    return mask if mask.is_file() else None


def _whole(line: dict[str, str], column: str, file: Path, row: int) -> int:
    try:
        value = int(line[column])
    except ValueError:
        value = 0
    if value <= 0:
        raise DataError(file, f"{column} is {line[column]!r}, not a number of pixels", row)
    return value


def _add_box(films: dict[str, Film], line: dict[str, str], file: Path, row: int) -> None:
    film = films.get(line["image"])
    if film is None:
        raise DataError(file, f"{line['image']} is not in images.csv", row)
    try:
        anatomy = anatomy_by_name(line["anatomy"])
        box = Box(*(float(line[c]) for c in ("x0", "y0", "x1", "y1")))
        inside = box.clipped(film.width, film.height)
    except (UnknownAnatomy, InvalidBox) as error:
        raise DataError(file, str(error), row) from None
    except ValueError:
        raise DataError(file, "a corner of the box is not a number", row) from None
    if inside.area < MIN_INSIDE * box.area:
        raise DataError(file, f"the box lies outside the image of {film.width} x {film.height} pixels", row)
    if anatomy.key in film.boxes:
        raise DataError(file, f"a second box of {anatomy.name}", row)
    film.boxes[anatomy.key] = inside
    film.origins[anatomy.key] = line["origin"]
