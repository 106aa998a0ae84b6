"""All that the figures are computed from, in one file: anyone can compute them anew."""

from pathlib import Path

import numpy as np

from models.evaluate.analysed import Analysed
from models.evaluate.judging import Judged
from regionmir.core.anatomy import anatomies
from regionmir.core.errors import RegionMirError

PARTS = (
    "patients",
    "findings",
    "groups",
    "pixel_sums",
    "true_boxes",
    "boxes",
    "scores",
    "vectors",
    "frontal",
    "accepted",
)
"""Fields of `Analysed` that are written for both sides."""


def write_dump(judged: Judged, file: Path) -> None:
    """Write boxes, scores and vectors of the database's and the queries' films to `file` (.npz).

    Arrays are named `database_...` and `queries_...`; `anatomies` names their second axis, `queries_named` is the slot
    that the embedder names at each true box. No pixels. Raises `RegionMirError` where it cannot be written.
    """
    arrays = {"anatomies": np.array([a.name for a in anatomies()]), "queries_named": judged.named}
    for side, films in (("database", judged.database), ("queries", judged.queries)):
        arrays |= {f"{side}_{name}": array for name, array in _side(films).items()}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as stream:
            np.savez_compressed(stream, allow_pickle=False, **arrays)
    except OSError as error:
        raise RegionMirError(f"{file} cannot be written: {error.strerror}") from None


def _side(films: Analysed) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    columns = {n: np.array([getattr(f, n) for f in films.films]) for n in ("name", "source", "width", "height")}
    return columns | {name: getattr(films, name) for name in PARTS}
