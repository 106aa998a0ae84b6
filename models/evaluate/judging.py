"""Everything that is looked at once, as cases; every figure, of all queries or of a group, is computed from it."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from models.data.films import Film
from models.data.tensors import Progress as Steps
from models.evaluate.analysed import Analysed, analyse_films
from models.evaluate.calibration import hit_cases
from models.evaluate.cases import Cases, Ints, no_cases
from models.evaluate.controls import lung_controls, pixel_controls
from models.evaluate.detection import detection_cases, presence_cases
from models.evaluate.figures import Floats
from models.evaluate.locality import locality_cases
from models.evaluate.naming import box_only_cases, crop_cases, named_at_boxes, roi_cases
from models.evaluate.neighbours import Search, ann_cases
from models.evaluate.privacy import reidentification_cases
from models.evaluate.rejection import Negatives, generated_negatives, scores
from models.evaluate.retrieval import abnormal_only, anatomy_cases, finding_cases, normal_or_pneumonia, three_classes
from models.region_model import RegionModel

Progress = Callable[[str, int, int], None]
"""Called with what is being done, and (done, total)."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How many films the parts that need passes of their own look at; the same seed chooses the same films."""

    control_films: int = 800
    """Films of the database on which the lungs are blanked out."""
    crop_films: int = 40
    """Films per anatomy, of the database and of the queries, whose crops are named."""
    lung_films: int = 150
    zone_films: int = 50
    """Query films whose lungs, and lung zones, have another film pasted."""
    cut_films: int = 300
    """Query films of which a part is cut away."""
    ann_anatomies: int = 4
    """Anatomies whose approximate index is searched."""

    @classmethod
    def thorough(cls) -> "Effort":
        """Return an effort without limits: hours on a CPU."""
        return cls(*[10**9] * 6)


@dataclass(frozen=True, slots=True)
class Judged:
    """The analyses of both splits and the cases of every question; rows are rows of `queries`."""

    database: Analysed
    queries: Analysed
    effort: Effort
    control_films: int
    detection: Cases
    presence: Cases
    roi: Cases
    crop: Cases
    box_only: Cases
    anatomy: Cases
    findings: dict[str, Cases]
    """By `three`, `binary`, `abnormal_only`."""
    left_out: Cases
    """Queries searched among themselves, the query's patient left out."""
    controls: dict[str, dict[str, Cases]]
    locality: Cases
    hits: Cases
    reidentification: Cases
    ann: Cases
    named: Ints
    """(N, A): the anatomy named at each true box, -1 where there is none"""
    negatives: str
    negative_scores: Floats


def judge(
    model: RegionModel,
    database: list[Film],
    queries: list[Film],
    *,
    effort: Effort | None = None,
    negatives: Negatives | None = None,
    generate: bool = True,
    search: Search | None = None,
    progress: Progress = lambda _what, _done, _total: None,
) -> Judged:
    """Return all cases. With `generate`, images to be refused are generated beside the `negatives` handed in.

    Without `search` no approximate index is judged. Raises `DataError` where a film cannot be read.
    """

    def told(what: str) -> Steps:
        return lambda done, total: progress(what, done, total)

    effort = effort or Effort()
    base = analyse_films(model, database, told("database"))
    asked = analyse_films(model, queries, told("queries"))
    true, found = named_at_boxes(model, asked, told("naming"))
    refused = _refused(model, asked, negatives, generate=generate)
    sample = base.take(chosen_rows(base, effort.control_films))
    limits = (effort.lung_films, effort.zone_films)
    return Judged(
        database=base,
        queries=asked,
        effort=effort,
        control_films=len(sample),
        roi=roi_cases(asked, true, found),
        named=true,
        crop=crop_cases(model, base, asked, effort.crop_films, told("crops")),
        presence=presence_cases(model, asked, chosen_rows(asked, effort.cut_films), told("cut films")),
        locality=locality_cases(model, base, asked, limits, progress=told("locality")),
        controls=_controls(model, base, sample, asked, told("blanked lungs")),
        detection=detection_cases(base, asked),
        box_only=box_only_cases(base, asked),
        anatomy=anatomy_cases(base, asked),
        findings=finding_cases(base, asked, RELABELS),
        left_out=finding_cases(asked, asked, {"three": three_classes})["three"],
        hits=hit_cases(base, asked),
        reidentification=reidentification_cases(base, asked),
        ann=ann_cases(base, asked, search, effort.ann_anatomies) if search else no_cases("recall_10"),
        negatives=refused.described,
        negative_scores=scores(model, refused),
    )


RELABELS = {"three": three_classes, "binary": normal_or_pneumonia, "abnormal_only": abnormal_only}


def chosen_rows(films: Analysed, limit: int) -> Ints:
    """Return at most `limit` rows, chosen by a hash of the films' names: the same whatever else is in the split."""
    if len(films) <= limit:
        return np.arange(len(films))
    order = np.argsort([zlib.crc32(f.name.encode()) for f in films.films], kind="stable")
    return np.sort(order[:limit])


def _refused(model: RegionModel, asked: Analysed, given: Negatives | None, *, generate: bool) -> Negatives:
    if given is not None and not generate:
        return given
    generated = generated_negatives(asked, model.side)
    return generated + given if given is not None else generated


def _controls(
    model: RegionModel, base: Analysed, sample: Analysed, asked: Analysed, progress: Steps
) -> dict[str, dict[str, Cases]]:
    labelled = asked.take(np.flatnonzero(asked.findings != ""))
    found = pixel_controls(base, asked)
    if not len(labelled):
        return found
    rows = np.flatnonzero(asked.findings != "")
    lungs = lung_controls(model, sample.take(np.flatnonzero(sample.findings != "")), labelled, progress)
    return found | {
        name: {kind: replace(cases, rows=rows[cases.rows]) for kind, cases in kinds.items()}
        for name, kinds in lungs.items()
    }
