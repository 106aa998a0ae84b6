"""The gold data set: boxes and statements that radiologists corrected, in one table each."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from models.data.films import Film, Progress
from models.data.imagenome.boxes import clean_boxes, of_other_size
from models.data.imagenome.images import MimicImages, find_images
from models.data.imagenome.silver import mimic_film
from models.data.imagenome.splits import AVOID, SPLITS, Listed, listed_films
from models.data.imagenome.statements import Statement, region_findings
from models.data.noise import Noise, NoiseReport
from models.data.pixels import image_size
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
        boxes, statements, listed = self._boxes(), self._statements(), self._listed()
        images = find_images(self.path, self._images)
        for done, (dicom, objects) in enumerate(boxes.items(), start=1):
            one = listed.get(dicom)
            if one is None:
                self.noise.add(Noise.NOT_LISTED)
            else:
                film = self._film(one, objects, statements.get(dicom, []), images)
                if film is not None:
                    yield film
            if progress:
                progress(done, len(boxes))

    def _film(
        self, listed: Listed, objects: list[dict[str, str]], statements: list[Statement], images: MimicImages
    ) -> Film | None:
        path = images.path(listed.subject, listed.study, listed.dicom)
        if path is None:
            self.noise.add(Noise.NO_IMAGE)
            return None
        width, height = image_size(path, listed.where)
        if of_other_size(objects, width, height):
            self.noise.add(Noise.OTHER_SIZE)
            return None
        boxes = clean_boxes(objects, width, height, self.noise)
        if not boxes:
            self.noise.add(Noise.NO_BOX)
            return None
        if len(boxes.keys() & _GOLD) < len(_GOLD):
            self.noise.add(Noise.NOT_ALL_ANATOMIES)
        findings = region_findings(statements, self.noise)
        return mimic_film(listed, path, (width, height), SPLIT, boxes, "gold", findings)

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

    def _listed(self) -> dict[str, Listed]:
        """Return who is who. Raises `DataError` where the list of the gold patients is absent."""
        files = [self._lists / AVOID, *(f for s in SPLITS if (f := self._lists / f"{s}.csv").is_file())]
        return {one.dicom: one for file in reversed(files) for one in listed_films(file)}


_GOLD = {a.key for a in anatomies() if a.gold}


def _dicom(line: dict[str, str]) -> str:
    return line["image_id"].strip().removesuffix(".dcm")
