"""`regionmir model`: train, judge and look at models."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from regionmir.admin.model_console import complaints, console, or_complain
from regionmir.admin.model_evaluate_command import evaluate_command
from regionmir.core.errors import RegionMirError

if TYPE_CHECKING:
    from models.train.run import Listener

app = typer.Typer(help="Train, judge and list region models.", no_args_is_help=True, rich_markup_mode="markdown")


@app.command("train")
def train_command(
    config: Annotated[str, typer.Option(help="A configuration's name (`cpu-60min`, ...) or a TOML file.")],
    data: Annotated[Path, typer.Option(help="Folder with images.csv, regions.csv and images.")],
    out: Annotated[Path, typer.Option(help="Folder that receives the model and its checkpoint.")],
    resume: Annotated[bool, typer.Option(help="Go on from the checkpoint in --out.")] = False,
) -> None:
    """Train a model on the split `train` of a folder, for as many minutes as the configuration says.

    Examples:

        regionmir model train --config cpu-60min --data films --out runs/a

        regionmir model train --config cpu-60min --data films --out runs/a --resume

        torchrun --nproc-per-node 2 -m regionmir.admin model train --config gpu-10min --data DIR --out runs/b
    """
    from models.train.config import read_config
    from models.train.report import judging_command
    from models.train.run import train

    with _bars() as bars:
        card = or_complain(lambda: train(read_config(config), data, out, _listener(bars), resume=resume))
    if card is None:  # the first process of several tells
        return
    console.print(f"model {card.name} {card.version} in {out}, {card.training['steps']} steps; see {out}/report.md")
    console.print(f"judge it: {judging_command(data, out)}", soft_wrap=True)


@app.command("calibrate")
def calibrate_command(
    model: Annotated[str, typer.Option(help="The model to start from: its name or folder.")],
    data: Annotated[Path, typer.Option(help="Folder with images.csv, regions.csv and images.")],
    out: Annotated[Path, typer.Option(help="Folder that receives the model.")],
) -> None:
    """Fit again what needs no gradient: centres, reliable directions, agreement of edges, names, acceptance.

    Example:

        regionmir model calibrate --model runs/a --data films --out runs/b
    """
    from models.train.run import recalibrate

    with _bars() as bars:
        card = or_complain(lambda: recalibrate(model, data, out, _listener(bars)))
    console.print(f"model {card.name} {card.version} in {out}")


app.command("evaluate")(evaluate_command)


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

    card = or_complain(checked)
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
