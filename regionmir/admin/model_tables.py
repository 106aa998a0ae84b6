"""The figures of an evaluation as tables for a terminal."""

from typing import Any

from rich.table import Table


def tables(found: dict[str, Any]) -> list[Table]:
    """Return the tables of the tree of figures `found`."""
    return [_detector_table(found), _anatomy_table(found), _retrieval_table(found), _other_table(found)]


def _shown(figure: Any) -> str:
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]" if figure is not None else "-"


def _detector_table(found: dict[str, Any]) -> Table:
    table = Table("boxes", "mean IoU [95 %]", "static prior", "recall@.5", "recall@.75", "n", title="Detector")
    detector = found["detector"]
    for name, group in {"all": detector, **detector["by_age_group"]}.items():
        if group["mean_iou"] is None:
            continue
        figures = (group[k] for k in ("mean_iou", "static_prior_mean_iou", "recall_50", "recall_75"))
        table.add_row(name, *(_shown(f) for f in figures), str(group["mean_iou"].n))
    return table


def _anatomy_table(found: dict[str, Any]) -> Table:
    table = Table("anatomy", "IoU, all", "adults", "children", "participation ratio", title="By anatomy")
    detector = found["detector"]
    groups = [detector["by_age_group"].get(g, {}).get("per_anatomy", {}) for g in ("adult", "child")]
    for name, figure in detector["per_anatomy"].items():
        if figure is not None:
            ratio = found["participation_ratio"].get(name)
            shown = (_shown(g.get(name)) for g in groups)
            table.add_row(name, _shown(figure), *shown, f"{ratio:.1f}" if ratio is not None else "-")
    return table


def _retrieval_table(found: dict[str, Any]) -> Table:
    title = "Hits of other patients, same anatomy: same finding?"
    table = Table("question", "P@1", "P@5 [95 %]", "P@10", "MAP@R", "by chance", "box only P@5", title=title)
    within, control = found["retrieval"]["within_anatomy_finding"], found["controls"]["box_only"]
    rows = {"every finding": (within, control)} | {
        name: (within[name], control.get(name, {}))
        for name in ("binary", "abnormal_only", "leave_one_patient_out")
        if within.get(name)
    }
    for lung in ("right lung", "left lung"):
        for name, (part, base) in (
            ("three classes", (within, control)),
            ("binary", (within.get("binary", {}), control.get("binary", {}))),
        ):
            if lung in part.get("per_anatomy", {}):
                rows[f"{lung}, {name}"] = (part["per_anatomy"][lung], base.get("per_anatomy", {}).get(lung, {}))
    for name, (part, base) in rows.items():
        if part.get("p_at_5") is not None:
            figures = (part[k] for k in ("p_at_1", "p_at_5", "p_at_10", "map_at_r", "prevalence"))
            table.add_row(name, *(_shown(f) for f in figures), _shown(base.get("p_at_5")))
    return table


def _other_table(found: dict[str, Any]) -> Table:
    table = Table("figure", "value [95 %]", "n", title="Anatomy and rejection")
    named = {
        "anatomy named by the embedder, true boxes": found["anatomy"].get("accuracy_roi"),
        "anatomy named by box coordinates alone": found["anatomy"].get("accuracy_box_only"),
        "nearest hit has the same anatomy": found["retrieval"]["same_anatomy"].get("p_at_1"),
        "ten nearest hits have the same anatomy": found["retrieval"]["same_anatomy"].get("p_at_10"),
        "films against images to be refused, AUROC": found["rejection"]["auroc"],
        "images to be refused that were accepted": found["rejection"]["false_accept_rate"],
        "films accepted": found["rejection"]["film_accept_rate"],
    }
    for name, figure in named.items():
        table.add_row(name, _shown(figure), str(figure.n) if figure is not None else "")
    return table
