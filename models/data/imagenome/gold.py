"""The gold data set: boxes and statements that radiologists corrected, in one table each."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from models.data.films import Film, Progress
from models.data.imagenome.film import mimic_film
from models.data.imagenome.images import find_images
from models.data.imagenome.splits import AVOID, SPLITS, Listed, listed_films
from models.data.imagenome.statements import Statement
from models.data.noise import Noise, NoiseReport
from models.data.tables import table_rows
from regionmir.core.anatomy import anatomies

SPLIT = "gold"
BOXES = "gold_bbox_coordinate_annotations_1000images.csv"
STATEMENTS = "gold_object_attribute_with_coordinates.txt"

_BOX_COLUMNS = (
    "image_id", "bbox_name", "original_x1", "original_y1", "original_x2", "original_y2", "x1", "y1", "x2", "y2",
)  # fmt: skip
_STATEMENT_COLUMNS = ("image_id", "bbox", "context", "categoryID", "label_name")


class GoldData:
    """Chest ImaGenome's folder `gold_dataset` as a `DataSet` with the one split `gold`: for judging only.

    Patients are taken from the lists in `silver_dataset/splits` beside it.
    """

    kind = "Chest ImaGenome gold"

    def __init__(self, path: Path, images: Path | None = None) -> None:
        self.path = path
        self.noise = NoiseReport()
        self._images = images
        self._lists = path.parent / "silver_dataset" / "splits"

    def splits(self) -> tuple[str, ...]:
        """Return the one split."""
        return (SPLIT,)

    def films(self, split: str | None = None, progress: Progress | None = None) -> Iterator[Film]:
        """Yield the films in the order of the table of boxes; `noise` counts anew."""
        self.noise.clear()
        if split not in (None, SPLIT):
            return
        boxes, statements = self._boxes(), self._statements()
        listed, images = self._listed(set(boxes)), find_images(self.path, self._images)
        expected = [a for a in anatomies() if a.gold]
        for done, (dicom, objects) in enumerate(boxes.items(), start=1):
            film = None
            if dicom in listed:
                said = statements.get(dicom, [])
                film = mimic_film(
                    listed[dicom],
                    images,
                    objects,
                    said,
                    split=SPLIT,
                    origin="gold",
                    expected=expected,
                    noise=self.noise,
                )
            else:
                self.noise.add(Noise.NOT_LISTED)
            if film is not None:
                yield film
            if progress:
                progress(done, len(boxes))

    def _boxes(self) -> dict[str, list[dict[str, str]]]:
        found: dict[str, list[dict[str, str]]] = defaultdict(list)
        for _, line in table_rows(self.path / BOXES, _BOX_COLUMNS):
            found[_dicom(line)].append({column: line[column] for column in _BOX_COLUMNS})
        return found

    def _statements(self) -> dict[str, list[Statement]]:
        """Return the statements of each film; a copy without the table of statements has none."""
        found: dict[str, list[Statement]] = defaultdict(list)
        file = self.path / STATEMENTS
        for _, line in table_rows(file, _STATEMENT_COLUMNS, "\t") if file.is_file() else ():
            token = f"{line['categoryID']}|{line['context']}|{line['label_name']}"
            found[_dicom(line)].append((line["bbox"].strip(), token))
        return found

    def _listed(self, wanted: set[str]) -> dict[str, Listed]:
        """Return who is who among `wanted`. Raises `DataError` where the list of the gold patients is absent."""
        others = [file for split in SPLITS if (file := self._lists / f"{split}.csv").is_file()]
        rows = (one for file in (*others, self._lists / AVOID) for one in listed_films(file))
        return {one.dicom: one for one in rows if one.dicom in wanted}


def _dicom(line: dict[str, str]) -> str:
    return line["image_id"].strip().removesuffix(".dcm")
