"""The figures of an evaluation as tables for a terminal."""

from typing import Any

from rich.table import Table


def tables(found: dict[str, Any]) -> list[Table]:
    """Return the tables of the tree of figures `found`."""
    return [
        _detector_table(found),
        _anatomy_table(found),
        _retrieval_table(found),
        _controls_table(found),
        _other_table(found),
    ]


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
            table.add_row(name, _shown(figure), *shown, _shown(ratio))
    return table


def _retrieval_table(found: dict[str, Any]) -> Table:
    title = "Hits of other patients, same anatomy: same finding?"
    table = Table("question", "P@1", "P@5 [95 %]", "P@10", "MAP@R", "by chance", "box only P@5", title=title)
    within, control = found["retrieval"]["within_anatomy_finding"], found["controls"].get("box_only", {})
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


def _controls_table(found: dict[str, Any]) -> Table:
    table = Table(
        "both lungs", "three classes, P@5", "binary, P@5", title="What is left without looking into the lungs"
    )
    controls = found["controls"]
    for name in ("lungs", "region_blanked", "region_blanked_pixels"):
        part = controls.get(name, {})
        table.add_row(name.replace("_", " "), *(_shown(of.get("p_at_5")) for of in (part, part.get("binary", {}))))
    lungs = controls.get("lungs", {})
    lift = (_shown(of.get("lift_over_region_blanked")) for of in (lungs, lungs.get("binary", {})))
    table.add_row("lift over region blanked", *lift)
    thumbnail = controls.get("thumbnail", {})
    shown = (_shown(of.get("p_at_5")) for of in (thumbnail, thumbnail.get("binary", {})))
    table.add_row("32 x 32 film (every anatomy)", *shown)
    return table


def _other_table(found: dict[str, Any]) -> Table:
    table = Table("figure", "value [95 %]", "n", title="Anatomy, locality, privacy and rejection")
    anatomy, same, locality = found["anatomy"], found["retrieval"]["same_anatomy"], found["locality"]
    named = {
        "anatomy named from the crop alone": anatomy.get("accuracy_crop"),
        "anatomy named by the embedder, true boxes": anatomy.get("accuracy_roi"),
        "anatomy named by the embedder, found boxes": anatomy.get("accuracy_roi_detected"),
        "anatomy named by box coordinates alone": anatomy.get("accuracy_box_only"),
        "nearest hit has the same anatomy": same.get("p_at_1"),
        "ten nearest hits have the same anatomy": same.get("p_at_10"),
        "reported though out of view": found["detector"].get("presence_fpr"),
        "another film pasted outside: similarity": locality.get("outside_similarity"),
        "another film pasted outside: P@5 falls by": locality.get("outside_p_at_5_drop"),
        "another film pasted inside: similarity": locality.get("inside_similarity"),
        "nearest of all is of the same patient": found["reidentification"].get("nearest_is_same_patient"),
        "approximate index, recall of ten": found["ann"].get("recall_10"),
        "films against images to be refused, AUROC": found["rejection"].get("auroc"),
        "images to be refused that were accepted": found["rejection"].get("false_accept_rate"),
        "films accepted": found["rejection"].get("film_accept_rate"),
    }
    for name, figure in named.items():
        table.add_row(name, _shown(figure), str(figure.n) if figure is not None else "")
    return table
