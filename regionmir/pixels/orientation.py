"""How a stored film must be turned so that the patient's right is on the image's left and the head is up.

Only what the object states is used (PS3.3 C.7.6.1.1.1). With D1 the direction towards which a row runs and D2 that
of a column, the eight frontal orientations are turned exactly, everything else is refused:

| PatientOrientation | how it was stored           | turn                                |
|--------------------|-----------------------------|-------------------------------------|
| L\\F                | as viewed                   | none                                |
| R\\F                | mirrored                    | columns reversed                    |
| L\\H                | mirrored, upside down       | rows reversed                       |
| R\\H                | by half a turn              | rows and columns reversed           |
| F\\L, F\\R, H\\L, H\\R | on its side (and mirrored)  | transposed, then as its rows demand |
| A or P first       | seen from the side or above | refused: not a frontal projection   |
| empty              | not stated                  | none, and the side is marked so     |
"""

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
from pydicom.dataset import Dataset

from regionmir.core.errors import UnsupportedImage
from regionmir.core.geometry import Box

SIDE_NOT_STATED = "side not stated"

_DIRECTIONS = frozenset("LRAPHF")


@dataclass(frozen=True, slots=True)
class Turn:
    """First transposed, then rows and columns reversed: takes stored pixels to viewed ones."""

    transposed: bool = False
    rows_reversed: bool = False
    columns_reversed: bool = False

    def apply(self, stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return `stored` (H, W) as viewed: (H, W), or (W, H) when transposed. A view, not a copy."""
        viewed = stored.T if self.transposed else stored
        return viewed[:: -1 if self.rows_reversed else 1, :: -1 if self.columns_reversed else 1]

    def undo(self, viewed: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return `viewed` as it was stored: `turn.undo(turn.apply(stored))` is `stored`. A view, not a copy."""
        reversed_ = viewed[:: -1 if self.rows_reversed else 1, :: -1 if self.columns_reversed else 1]
        return reversed_.T if self.transposed else reversed_

    def to_stored(self, box: Box, rows: int, columns: int) -> Box:
        """Return where a box of the viewed image lies in the stored one of `rows` x `columns`."""
        height, width = (columns, rows) if self.transposed else (rows, columns)
        return self._transposed(self._reversed(box, height, width))

    def from_stored(self, box: Box, rows: int, columns: int) -> Box:
        """Return where a box of the stored image of `rows` x `columns` lies in the viewed one."""
        height, width = (columns, rows) if self.transposed else (rows, columns)
        return self._reversed(self._transposed(box), height, width)

    def _transposed(self, box: Box) -> Box:
        return Box(box.y0, box.x0, box.y1, box.x1) if self.transposed else box

    def _reversed(self, box: Box, height: int, width: int) -> Box:
        x0, x1 = (width - box.x1, width - box.x0) if self.columns_reversed else (box.x0, box.x1)
        y0, y1 = (height - box.y1, height - box.y0) if self.rows_reversed else (box.y0, box.y1)
        return Box(x0, y0, x1, y1)


_TURNS = {
    ("L", "F"): Turn(),
    ("R", "F"): Turn(columns_reversed=True),
    ("L", "H"): Turn(rows_reversed=True),
    ("R", "H"): Turn(rows_reversed=True, columns_reversed=True),
    ("F", "L"): Turn(transposed=True),
    ("F", "R"): Turn(transposed=True, columns_reversed=True),
    ("H", "L"): Turn(transposed=True, rows_reversed=True),
    ("H", "R"): Turn(transposed=True, rows_reversed=True, columns_reversed=True),
}


def turn_of(dataset: Dataset) -> tuple[Turn, str]:
    """Return how to turn the stored pixels, and a note on the side ("" where the object states it plainly).

    Raises `UnsupportedImage` for an orientation that is not frontal, that cannot be read, and where the columns were
    flipped after acquisition (FieldOfViewHorizontalFlip, PS3.3 C.8.11.4) while nobody says what came out.
    """
    stated = _stated(dataset)
    if not stated:
        if _text(dataset, "FieldOfViewHorizontalFlip") == "YES":
            raise UnsupportedImage("flipped, orientation not stated")
        return Turn(), SIDE_NOT_STATED
    if len(stated) != 2 or not all(direction and set(direction) <= _DIRECTIONS for direction in stated):
        raise UnsupportedImage("patient orientation unreadable")
    along_row, along_column = stated[0][0], stated[1][0]  # the first letter leads: LF is left, a little to the feet
    if {along_row, along_column} & {"A", "P"}:
        raise UnsupportedImage("not a frontal orientation")
    turn = _TURNS.get((along_row, along_column))
    if turn is None:
        raise UnsupportedImage("patient orientation unreadable")
    return turn, "" if turn == Turn() else f"turned from {along_row}\\{along_column}"


def _stated(dataset: Dataset) -> list[str]:
    value = dataset.get("PatientOrientation")
    values = [value] if isinstance(value, str) else list(value or [])
    directions = [str(v).strip().upper() for v in values]
    return directions if any(directions) else []


def _text(dataset: Dataset, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip().upper()
