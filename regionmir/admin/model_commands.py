"""`regionmir model`: train, judge and look at models."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from regionmir.core.errors import RegionMirError

if TYPE_CHECKING:
    from models.train.run import Listener

app = typer.Typer(help="Train, judge and list region models.", no_args_is_help=True, rich_markup_mode="markdown")
console = Console(width=None if sys.stdout.isatty() else 160)
complaints = Console(stderr=True)

ModelOption = Annotated[str | None, typer.Option("--model", help="Name of a shipped model, or its folder.")]


@app.command("train")
def train_command(
    config: Annotated[str, typer.Option(help="A configuration's name (`cpu-60min`, ...) or a TOML file.")],
    data: Annotated[Path, typer.Option(help="Folder with images.csv, regions.csv and images.")],
    out: Annotated[Path, typer.Option(help="Folder that receives the model and its checkpoint.")],
    resume: Annotated[bool, typer.Option(help="Go on from the checkpoint in --out.")] = False,
) -> None:
    """Train a model on the split `train` of a folder, for as many minutes as the configuration says.

    Examples:

        regionmir model train --config cpu-60min --data ../shared/data/cxr --out runs/a

        regionmir model train --config cpu-60min --data ../shared/data/cxr --out runs/a --resume

        torchrun --nproc-per-node 2 -m regionmir.admin model train --config gpu-10min --data DIR --out runs/b
    """
    from models.train.config import read_config
    from models.train.report import evaluate_command
    from models.train.run import train

    with _bars() as bars:
        card = _or_complain(lambda: train(read_config(config), data, out, _listener(bars), resume=resume))
    if card is None:  # the first process of several tells
        return
    console.print(f"model {card.name} {card.version} in {out}, {card.training['steps']} steps; see {out}/report.md")
    console.print(f"judge it: {evaluate_command(data, out)}", soft_wrap=True)


@app.command("evaluate")
def evaluate_command(
    database: Annotated[Path, typer.Option(help="Folder whose films are searched.")],
    queries: Annotated[Path, typer.Option(help="Folder whose films ask.")],
    database_split: Annotated[str, typer.Option(help="Split of --database.")] = "train",
    query_split: Annotated[str, typer.Option(help="Split of --queries.")] = "val",
    model: ModelOption = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write every figure to this file.")] = None,
    negatives: Annotated[Path | None, typer.Option(help="Folder of PNG/JPEG that must be refused.")] = None,
    threads: Annotated[int, typer.Option(help="CPU threads; 0: all cores.")] = 0,
) -> None:
    """Judge a model: boxes against true ones, hits of other patients against their findings, what it refuses.

    Examples:

        regionmir model evaluate --database ../shared/data/cxr --queries ../shared/data/cxr

        regionmir model evaluate --database DIR --database-split train --queries DIR --query-split val --json out.json
    """
    from models.evaluate.run import evaluate, write_json
    from models.registry import load_model

    with _bars() as bars:
        tasks: dict[str, TaskID] = {}

        def told(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        def judge() -> dict[str, Any]:
            loaded = load_model(model, threads=threads)
            asked = (queries, query_split)
            return evaluate(loaded, (database, database_split), asked, negatives=negatives, progress=told)

        found = _or_complain(judge)
    for table in _tables(found):
        console.print(table)
    if json_file:
        _or_complain(lambda: write_json(found, json_file))
        console.print(f"all figures: {json_file}")


@app.command("list")
def list_command(
    folder: Annotated[Path | None, typer.Argument(help="Folder of models; default: the shipped ones.")] = None,
) -> None:
    """List models and whether their weights are intact. Exit code 1 where one is not.

    Example:

        regionmir model list
    """
    from models.registry import SHIPPED, listing

    table = Table("name", "version", "anatomies", "length", "weights (SHA-256)", "state")
    broken = False
    for path, card in listing(folder):
        if isinstance(card, RegionMirError):
            broken = True
            table.add_row(path.name, "", "", "", "", f"[red]{card}[/red]")
            continue
        default = "intact, default" if folder is None and path.name == SHIPPED else "intact"
        row = (card.name, card.version, str(len(card.anatomies)), str(card.network.dim), card.weights_sha256[:16])
        table.add_row(*row, default)
    console.print(table)
    raise typer.Exit(1 if broken else 0)


@app.command("show")
def show_command(
    model: Annotated[str | None, typer.Argument(help="Name or folder; default: the shipped one.")] = None,
) -> None:
    """Show what a model is, what it was trained on and its figures, after checking its weights.

    Example:

        regionmir model show
    """
    from models.registry import model_folder, read_card, verify_weights

    def checked() -> Any:
        folder = model_folder(model)
        card = read_card(folder)
        verify_weights(folder, card)
        return card

    card = _or_complain(checked)
    table = Table("", "", show_header=False)
    table.add_row("name, version", f"{card.name} {card.version}")
    table.add_row("weights", f"SHA-256 {card.weights_sha256} (intact)")
    table.add_row("preprocessing", card.preprocessing_hash)
    table.add_row("input, vector", f"{card.network.side} x {card.network.side}, {card.network.dim}")
    table.add_row("anatomies", ", ".join(a.name for a in card.anatomies))
    for group in (card.training, card.metrics):
        for name, value in group.items():
            table.add_row(str(name), str(value))
    console.print(table)


def _or_complain(work: Any) -> Any:
    """Return what `work()` returns; a known error becomes one line and exit code 1."""
    try:
        return work()
    except RegionMirError as error:
        complaints.print(f"[red]{error}[/red]", soft_wrap=True)
        raise typer.Exit(1) from None


def _bars() -> Bars:
    columns = (TextColumn("{task.description:12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Bars(*columns, console=complaints, disable=not sys.stderr.isatty())


def _listener(bars: Bars) -> "Listener":
    """Return what shows the progress of a training on `bars`."""
    from models.train.loop import Progress
    from models.train.run import Listener

    loading, training = bars.add_task("read films", total=None), bars.add_task("train", total=100, visible=False)
    calibrating = bars.add_task("calibrate", total=None, visible=False)

    def told(progress: Progress) -> None:
        bars.update(training, completed=round(100 * progress.share), visible=True)
        losses = "  ".join(f"{n} {v:.3f}" for n, v in progress.losses.items())
        figures = "".join(f"  validation {n} {v:.3f}" for n, v in progress.validation.items())
        line = f"step {progress.step}  {progress.elapsed_s:.0f} s{figures}  total {progress.total:.3f}  {losses}"
        bars.console.print(line, soft_wrap=True)

    return Listener(
        lambda d, t: bars.update(loading, completed=d, total=t),
        told,
        lambda d, t: bars.update(calibrating, completed=d, total=t, visible=True),
        bars.console.print,
    )


def _tables(found: dict[str, Any]) -> list[Table]:
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
