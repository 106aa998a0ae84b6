"""Reader of a folder with `images.csv`, `regions.csv`, the images that they name and, optionally, `masks`."""

from collections.abc import Iterator
from pathlib import Path

from models.data.errors import DataError
from models.data.films import Film, Progress, assert_disjoint
from models.data.noise import NoiseReport
from models.data.tables import table_rows
from regionmir.core.anatomy import anatomy_by_name
from regionmir.core.errors import InvalidBox, UnknownAnatomy
from regionmir.core.geometry import Box

IMAGE_COLUMNS = ("image", "width", "height", "source", "patient", "finding", "age_group", "split")
REGION_COLUMNS = ("image", "anatomy", "x0", "y0", "x1", "y1", "origin")
MIN_INSIDE = 0.25
"""A box with less of its area inside the image is refused; else the outside is cut off."""


class FolderData:
    """A folder of films as a `DataSet`. Nothing in it is forgiven: what is wrong is a `DataError`."""

    def __init__(self, path: Path, kind: str = "folder") -> None:
        self.path = path
        self.kind = kind
        self.noise = NoiseReport()
        self._films: list[Film] | None = None

    def splits(self) -> tuple[str, ...]:
        """Return the splits there are, sorted."""
        return tuple(sorted({f.split for f in self._all()}))

    def films(self, split: str | None = None, progress: Progress | None = None) -> Iterator[Film]:
        """Yield the films of one split or of all."""
        films = [f for f in self._all() if split in (None, f.split)]
        for done, film in enumerate(films, start=1):
            yield film
            if progress:
                progress(done, len(films))

    def _all(self) -> list[Film]:
        if self._films is None:
            self._films = read_folder(self.path)
        return self._films


def read_folder(folder: Path) -> list[Film]:
    """Return all films of `folder`, patients disjoint between splits.

    Raises `DataError` that names file and row (1 is the row of names).
    """
    films = {f.name: f for f in _films(folder)}
    for row, line in table_rows(folder / "regions.csv", REGION_COLUMNS):
        _add_box(films, line, folder / "regions.csv", row)
    assert_disjoint(films.values(), folder / "images.csv")
    return list(films.values())


def _films(folder: Path) -> Iterator[Film]:
    file, seen = folder / "images.csv", set()
    for row, line in table_rows(file, IMAGE_COLUMNS):
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
        yield Film(
            name=name,
            path=path,
            width=width,
            height=height,
            source=line["source"],
            patient=line["patient"],
            finding=line["finding"],
            age_group=line["age_group"],
            split=line["split"],
            boxes={},
            origins={},
            mask=_mask(folder, name),
            listed=f"images.csv, row {row}",
        )


def _mask(folder: Path, name: str) -> Path | None:
    """Return the label map of an image: `images/a/b.jpg` has `masks/a/b.png`."""
    parts = Path(name).parts
    inner = Path(*parts[1:]) if len(parts) > 1 and parts[0] == "images" else Path(name)
    mask = folder / "masks" / inner.with_suffix(".png")
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
