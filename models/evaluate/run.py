"""The whole judgement of a model on two splits of films."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models.data.dataset import read_split
from models.data.films import Film, without_patients_of
from models.evaluate.figures import as_json
from models.evaluate.judging import Effort, Judged, Progress, judge
from models.evaluate.neighbours import Search
from models.evaluate.rejection import Negatives
from models.evaluate.summary import figures, group_figures
from models.region_model import RegionModel
from regionmir.core.errors import RegionMirError

Split = tuple[Path, str]
"""A folder and the name of one of its splits."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was judged, and every figure as nested mappings of `Figure`; `figures.as_json` makes JSON of them."""

    judged: Judged
    figures: dict[str, Any]


def evaluate(
    model: RegionModel,
    database: Split,
    queries: Split,
    *,
    group_by: Sequence[str] = (),
    effort: Effort | None = None,
    negatives: Negatives | None = None,
    generate: bool = True,
    search: Search | None = None,
    progress: Progress = lambda _what, _done, _total: None,
) -> Evaluation:
    """Judge `model`. Films of query patients are taken out of the database, unless both are the same split.

    Images to be refused are generated beside the `negatives` handed in, unless `generate` is false. `group_by` are of
    `summary.GROUPINGS`. Raises `DataError`.
    """
    base_films, query_films = read_split(*database), read_split(*queries)
    kept = base_films if database == queries else without_patients_of(base_films, query_films)
    if not kept:
        raise RegionMirError(f"split {database[1]!r} of {database[0]} has no film of a patient that does not also ask")
    judged = judge(
        model,
        kept,
        query_films,
        effort=effort,
        negatives=negatives,
        generate=generate,
        search=search,
        progress=progress,
    )
    progress("figures", 0, 1)
    tree: dict[str, Any] = {
        "model": {"name": model.info.name, "version": model.info.version, "weights_sha256": model.info.weights_sha256},
        "database": _described(database, kept, len(base_films) - len(kept)),
        "queries": _described(queries, query_films, 0),
        "effort": asdict(judged.effort),
    } | figures(judged, model.acceptance.threshold)
    if group_by:
        tree["by_group"] = group_figures(judged, group_by, model.acceptance.threshold)
    progress("figures", 1, 1)
    return Evaluation(judged, tree)


def write_json(found: dict[str, Any], file: Path) -> None:
    """Write the figures to `file`. Raises `RegionMirError` where it cannot be written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(as_json(found), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise RegionMirError(f"{file} cannot be written: {error.strerror}") from None


def _described(where: Split, films: list[Film], withheld: int) -> dict[str, object]:
    patients = len({f.patient for f in films})
    return {"split": where[1], "films": len(films), "patients": patients, "films_withheld": withheld}
