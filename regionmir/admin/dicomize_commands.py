"""`regionmir dicomize`: a folder of PNG or JPEG films becomes a folder of honest DICOM objects."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from regionmir.pixels.dicomize import Dicomized, Film, FilmError, Naming, dicomize_films, read_films

_SHOWN_ERRORS = 20


def dicomize(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="folder with images.csv and the pictures it lists")],
    out: Annotated[Path, typer.Option(help="folder for the objects and manifest.csv; made if absent")],
    split: Annotated[str, typer.Option(help="only rows of this split")] = "",
    source: Annotated[str, typer.Option(help="only rows of this source")] = "",
    limit: Annotated[int, typer.Option(min=0, help="at most so many films; 0: all")] = 0,
    prefix: Annotated[str, typer.Option(help="begins accession numbers; another one, other patients")] = "DEMO",
    orientation: Annotated[str, typer.Option(help="direction of rows and columns; 'none' if not known")] = "L\\F",
    burned_in: Annotated[str, typer.Option(help="YES or NO: is there text on the films; empty if not known")] = "",
) -> None:
    """Make DICOM secondary captures, with invented identities, of the PNG or JPEG films that images.csv lists.

    Example: regionmir dicomize films --out objects --limit 100
    """
    console = Console(stderr=True)
    try:
        naming = Naming(prefix, _directions(orientation), _yes_no(burned_in))
        films = [f for f in read_films(folder) if split in ("", f.split) and source in ("", f.source)]
    except FilmError as error:
        console.print(f"[red]error:[/red] {error}", highlight=False)
        raise typer.Exit(2) from None
    result = _with_bar(films[:limit] if limit else films, out, naming, console)
    for line in result.errors[:_SHOWN_ERRORS]:
        console.print(f"[red]skipped:[/red] {line}", highlight=False)
    if len(result.errors) > _SHOWN_ERRORS:
        console.print(f"... and {len(result.errors) - _SHOWN_ERRORS} more")
    console.print(f"{len(result.written)} objects in {out}, {len(result.errors)} skipped", highlight=False)
    if result.errors or not result.written:
        raise typer.Exit(1)


def _with_bar(films: Sequence[Film], out: Path, naming: Naming, console: Console) -> Dicomized:
    columns = (TextColumn("dicomize"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=len(films))
        return dicomize_films(films, out, naming=naming, progress=lambda _film: bar.advance(task))


def _directions(text: str) -> tuple[str, ...]:
    if text.lower() == "none":
        return ()
    directions = tuple(text.upper().replace("/", "\\").split("\\"))
    if len(directions) != 2 or not all(d and set(d) <= set("LRAPHF") for d in directions):
        raise FilmError(f"orientation must be like L\\F, or none, not {text[:20]!r}")
    return directions


def _yes_no(text: str) -> str:
    if text.upper() not in ("", "YES", "NO"):
        raise FilmError(f"burned-in must be YES or NO, not {text[:20]!r}")
    return text.upper()
