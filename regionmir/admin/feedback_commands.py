"""`regionmir feedback`: what people said of hits."""

from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from regionmir.admin.context import JSON, open_session, print_json

app = typer.Typer(no_args_is_help=True, help="What people said of hits: relevant or not.")


@app.callback()
def _group() -> None:
    """Keep `export` a command of its own name while it is the only one."""


@app.command()
def export(
    out: Annotated[Path, typer.Option(metavar="FILE.csv", help="Table to write; one that is there is replaced.")],
    as_json: bool = JSON,
) -> None:
    """Write what was said of hits, of every model, as a table to train on: pseudonyms, and nobody who said it.

    Example: regionmir feedback export --out feedback.csv
    """
    from db import audit, feedback, generations
    from regionmir.admin.feedback_export import rows_of, write_csv

    with open_session() as session:
        of_models = (rows_of(feedback.judged(session, model.pk), model.info) for model in generations.listing(session))
        pairs = write_csv(chain.from_iterable(of_models), out)
        audit.record(session, "feedback export", actor="operator", address="", detail={"pairs": pairs})
    if as_json:
        print_json({"pairs": pairs, "file": str(out)})
    else:
        typer.echo(f"{pairs} judged pairs in {out}")
