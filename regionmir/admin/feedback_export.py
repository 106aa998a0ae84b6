"""Opinions of hits as a table to train on: pairs of regions, what was said of them, and nobody who said it."""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from db.browse import BrowsedInstance
from db.feedback import Judged
from regionmir.core.anatomy import Anatomy
from regionmir.core.errors import ConfigurationError
from regionmir.core.geometry import Box
from regionmir.core.records import GenerationInfo
from regionmir.web.pictures import view_of

COLUMNS: Final = (
    "model", "model_version", "anatomy", "drawn",
    "query_image", "query_patient", "query_x0", "query_y0", "query_x1", "query_y1",
    "hit_image", "hit_patient", "hit_x0", "hit_y0", "hit_x1", "hit_y1",
    "relevant", "not_relevant",
)  # fmt: skip
"""docs/training.md says what each holds."""

Row = dict[str, str | int]


def rows_of(judged: Iterable[Judged], model: GenerationInfo) -> Iterator[Row]:
    """Give one row for each pair of a model; boxes are fractions of the film as viewed, empty where none is known."""
    for one in judged:
        pair = one.pair
        yield {
            "model": model.name,
            "model_version": model.version,
            "anatomy": pair.anatomy.name,
            "drawn": int(pair.box is not None),
            "query_image": one.query.uid,
            "query_patient": one.query_patient,
            **_box("query", one.query, pair.box or _found(one.query, pair.anatomy)),
            "hit_image": one.hit.uid,
            "hit_patient": one.hit_patient,
            **_box("hit", one.hit, _found(one.hit, pair.anatomy)),
            "relevant": one.relevant,
            "not_relevant": one.not_relevant,
        }


def write_csv(rows: Iterable[Row], file: Path) -> int:
    """Write the table in place of what `file` held and return how many rows. Raises `ConfigurationError`."""
    part = file.with_suffix(f"{file.suffix}.part")
    written = 0
    try:
        with part.open("w", newline="", encoding="utf-8") as stream:
            table = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
            table.writeheader()
            for written, row in enumerate(rows, start=1):  # noqa: B007 - the last number is how many
                table.writerow(row)
        part.replace(file)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}") from None
    return written


def _found(film: BrowsedInstance, anatomy: Anatomy) -> Box | None:
    region = film.region(anatomy)
    return None if region is None else region.box


def _box(side: str, film: BrowsedInstance, box: Box | None) -> Row:
    names = [f"{side}_{name}" for name in ("x0", "y0", "x1", "y1")]
    view = view_of(film)
    if box is None or view is None:
        return dict.fromkeys(names, "")
    width, height = view.size
    seen = view.seen(box)
    parts = (seen.x0 / width, seen.y0 / height, seen.x1 / width, seen.y1 / height)
    return {name: f"{part:.5f}" for name, part in zip(names, parts, strict=True)}
