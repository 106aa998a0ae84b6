"""A report for readers: Markdown with tables and pictures. It shows films: keep it where the films may be kept."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from models.evaluate.figures import Figure
from models.evaluate.run import Evaluation
from regionmir.core.errors import ConfigurationError, RegionMirError

REPORT_FILE = "report.md"


def require_plots() -> None:
    """Raise `ConfigurationError` where the library that draws is not installed."""
    if find_spec("matplotlib") is None:
        raise ConfigurationError("--report needs matplotlib: pip install 'regionmir[train]'")


def write_report(found: Evaluation, folder: Path) -> None:
    """Write `report.md` and its pictures into `folder`. Raises `RegionMirError` where it cannot be written."""
    require_plots()
    from models.evaluate.pictures import draw_pictures

    try:
        folder.mkdir(parents=True, exist_ok=True)
        pictures = draw_pictures(found.judged, folder)
        text = "\n".join([*_head(found.figures), *_sections(found.figures, pictures)])
        (folder / REPORT_FILE).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise RegionMirError(f"{folder} cannot be written: {error.strerror}") from None


def shown(figure: object) -> str:
    """Return a figure as `0.123 [0.100, 0.140]`, `-` where there is none."""
    if not isinstance(figure, Figure):
        return "-"
    digits = 2 if figure.value >= 2 else 3
    return f"{figure.value:.{digits}f} [{figure.low:.{digits}f}, {figure.high:.{digits}f}]"


def _head(figures: dict[str, Any]) -> list[str]:
    model, base, asked = (figures[k] for k in ("model", "database", "queries"))
    return [
        f"# {model['name']} {model['version']}",
        "",
        f"Weights (SHA-256) `{model['weights_sha256']}`.",
        f"Database: {base['films']} films of {base['patients']} patients (split {base['split']};"
        f" {base['films_withheld']} withheld, their patients ask).",
        f"Queries: {asked['films']} films of {asked['patients']} patients (split {asked['split']}).",
        "",
        "Every figure is `value [95 % interval]`; the interval comes from drawing patients again. No hit shares the",
        "query's patient, file or pixels. What each figure means: docs/evaluation.md of the program. These are figures",
        "of this set of films; the data and protocol of published work are not reproduced.",
        "",
        "**This folder shows films of the query and database splits. Keep it where those may be kept.**",
        "",
    ]


def _sections(figures: dict[str, Any], pictures: dict[str, str]) -> list[str]:
    made: list[str] = []
    for title, lines in (
        ("Boxes", _boxes(figures["detector"])),
        ("Which anatomy", _anatomy(figures)),
        ("Within one anatomy: the same finding", _findings(figures)),
        ("Locality", _locality(figures)),
        ("What a similarity says", _calibration(figures)),
        ("Vectors", _vectors(figures)),
        ("Refused and found", _others(figures)),
        ("Groups of queries", _groups(figures)),
    ):
        drawn = [
            f"![{caption}]({name})\n\n*{caption}*\n" for name, caption in pictures.items() if _belongs(name, title)
        ]
        if lines or drawn:
            made += [f"## {title}", "", *lines, "", *drawn]
    return made


_PLACES = {
    "iou": "Boxes",
    "failures": "Boxes",
    "confusion": "Which anatomy",
    "precision": "Within one anatomy: the same finding",
    "hits": "Within one anatomy: the same finding",
    "calibration": "What a similarity says",
    "pca": "Vectors",
}


def _belongs(name: str, title: str) -> bool:
    return _PLACES[name.split("-")[0].removesuffix(".png")] == title


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return a Markdown table; nothing without rows."""
    if not rows:
        return []
    return ["", *(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows))]


def _boxes(found: dict[str, Any]) -> list[str]:
    names = ("mean_iou", "static_prior_mean_iou", "recall_50", "recall_75", "presence_fpr")
    meanings = (
        "mean IoU",
        "mean IoU of a mean box (no pixels)",
        "recall at IoU .5",
        "recall at IoU .75",
        "reported though out of view",
    )
    rows = [(text, shown(found.get(name))) for text, name in zip(meanings, names, strict=True)]
    each = [
        (name, shown(f), shown(found["static_prior_per_anatomy"].get(name))) for name, f in found["per_anatomy"].items()
    ]
    return table(("all boxes", "value"), rows) + table(("anatomy", "mean IoU", "mean box"), each)


def _anatomy(figures: dict[str, Any]) -> list[str]:
    named, same = figures["anatomy"], figures["retrieval"]["same_anatomy"]
    meanings = {
        "crop alone, true box": named.get("accuracy_crop"),
        "on the shared map, true box": named.get("accuracy_roi"),
        "on the shared map, found box": named.get("accuracy_roi_detected"),
        "coordinates alone (no pixels), true box": named.get("accuracy_box_only"),
        "coordinates alone, found box": named.get("accuracy_box_only_detected"),
        "nearest region of any anatomy is of the same": same.get("p_at_1"),
        "ten nearest": same.get("p_at_10"),
        "MAP@R": same.get("map_at_r"),
    }
    return table(("anatomy named from", "accuracy"), [(k, shown(v)) for k, v in meanings.items()])


_MEASURES = ("p_at_1", "p_at_5", "p_at_10", "map_at_r", "ndcg_10", "prevalence", "lift")


def _row(name: str, found: dict[str, Any]) -> list[tuple[str, ...]]:
    return [(name, *(shown(found.get(m)) for m in _MEASURES))] if found.get("p_at_5") else []


def _findings(figures: dict[str, Any]) -> list[str]:
    within, controls = figures["retrieval"]["within_anatomy_finding"], figures["controls"]
    if not within:
        return ["No film has a finding."]
    head = ("", "P@1", "P@5", "P@10", "MAP@R", "nDCG@10", "by chance", "lift of P@5")
    rows = _row("all findings", within) + _row("normal or pneumonia", within.get("binary", {}))
    rows += _row("abnormal only", within.get("abnormal_only", {}))
    rows += _row("among the queries, patient left out", within.get("leave_one_patient_out", {}))
    for name in ("box_only", "thumbnail", "lungs", "region_blanked", "region_blanked_pixels"):
        label = f"control: {name.replace('_', ' ')}"
        rows += _row(label, controls.get(name, {})) + _row(f"{label}, binary", controls.get(name, {}).get("binary", {}))
    rows += [row for name, found in within["per_anatomy"].items() for row in _row(name, found)]
    rows += [row for name, found in within["per_finding"].items() for row in _row(f"query: {name}", found)]
    lungs = controls.get("lungs", {})
    lift = [
        ("three classes", shown(lungs.get("lift_over_region_blanked"))),
        ("binary", shown(lungs.get("binary", {}).get("lift_over_region_blanked"))),
    ]
    return table(head, rows) + (table(("lungs: P@5 over that of the lungs blanked out", "lift"), lift) if lungs else [])


def _locality(figures: dict[str, Any]) -> list[str]:
    found = figures["locality"]
    names = ("outside_similarity", "outside_p_at_5_drop", "inside_similarity")
    rows = [("all", *(shown(found.get(n)) for n in names))] if found else []
    rows += [(name, *(shown(of.get(n)) for n in names)) for name, of in found.get("per_anatomy", {}).items()]
    return table(("another film pasted", "outside: similarity", "outside: P@5 falls by", "inside: similarity"), rows)


def _calibration(figures: dict[str, Any]) -> list[str]:
    rows = [
        (f"{b['from']:.3f} to {b['to']:.3f}", shown(b["same_finding"]), str(b["same_finding"].n))
        for b in figures["calibration"]["hits"]
    ]
    return table(("similarity of a hit", "share with the query's finding", "hits"), rows)


def _vectors(figures: dict[str, Any]) -> list[str]:
    rows = [(name, shown(f)) for name, f in figures["participation_ratio"].items()]
    again, ann = figures["reidentification"], figures["ann"]
    return [
        *table(("anatomy", "participation ratio"), rows),
        *table(
            ("", "value"),
            [
                ("another film of the same patient is the nearest of all", shown(again.get("nearest_is_same_patient"))),
                ("by chance", shown(again.get("by_chance"))),
                ("approximate index: recall of ten (ties of 0.001 count)", shown(ann.get("recall_10"))),
                ("approximate index: recall of ten, by row", shown(ann.get("recall_10_by_id"))),
            ],
        ),
    ]


def _others(figures: dict[str, Any]) -> list[str]:
    found = figures["rejection"]
    meanings = {
        "AUROC": "auroc",
        "images to be refused that were accepted": "false_accept_rate",
        "films accepted": "film_accept_rate",
    }
    return table((f"against {found['negatives']}", "value"), [(k, shown(found.get(n))) for k, n in meanings.items()])


def _groups(figures: dict[str, Any]) -> list[str]:
    rows = []
    for name, of in figures.get("by_group", {}).items():
        within = of["retrieval"]["within_anatomy_finding"]
        cells = (
            of["detector"].get("mean_iou"),
            of["anatomy"].get("accuracy_roi"),
            within.get("p_at_5"),
            within.get("binary", {}).get("p_at_5"),
        )
        rows.append((name, *(shown(c) for c in cells)))
    return table(("group", "mean IoU", "anatomy named", "same finding, P@5", "normal or pneumonia, P@5"), rows)
