"""`regionmir resolve`: whose is this hit?"""

import getpass
from dataclasses import asdict

import typer
from rich.table import Table

from regionmir.admin.context import JSON, console, open_database, print_json, settings_in_force
from regionmir.core.identifiers import parse_ae_title


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(resolve)


def resolve(
    hit: str = typer.Argument(metavar="CODE#RANK", help="The hit, as it stands on a result or in an answer."),
    acting_for: str = typer.Option(metavar="AE_TITLE", help="A peer with the right `identify`, for whom you ask."),
    reason: str = typer.Option(help="Why you need to know; kept in the audit trail."),
    as_json: bool = JSON,
) -> None:
    """Tell the original identity of a hit. Who asked, for whom and why is in the audit trail before it answers.

    Example: regionmir resolve '7K3M9QXA#1' --acting-for READER1 --reason "comparison for the tumour board"
    """
    from regionmir.query.resolving import Asker
    from regionmir.query.resolving import resolve as origin_of

    asker = Asker(parse_ae_title(acting_for), getpass.getuser())
    with open_database(settings_in_force()) as database:
        origin = origin_of(database, hit, asker, reason)
    if as_json:
        print_json(asdict(origin))
        return
    table = Table("attribute", "value", box=None, pad_edge=False)
    for name, value in asdict(origin).items():
        table.add_row(name.replace("_", " "), str(value or "-"))
    console.print(table)
