"""`regionmir thumbnails`: the small pictures of films that were indexed before these were kept."""

from contextlib import closing
from typing import TYPE_CHECKING

import typer

from regionmir.admin.bars import progress_bars
from regionmir.admin.context import JSON, open_database, print_json, settings_in_force

if TYPE_CHECKING:
    from db.engine import Database
    from regionmir.archive.renditions import Made
    from regionmir.core.settings import Settings


def thumbnails(as_json: bool = JSON) -> None:
    """Draw and keep the small renditions that indexed films lack; pages then need not decode whole films.

    Safe while everything runs. Interrupted, it goes on where it was. Films that are not kept, and those whose pixels
    may name a patient, have none.

    Example: regionmir thumbnails
    """
    from db import audit

    settings = settings_in_force()
    with open_database(settings) as database:
        made = _made(settings, database)
        with database.session() as session:
            detail = {"made": made.made, "left": made.left}
            audit.record(session, "thumbnails made", actor="operator", address="", detail=detail)
    if as_json:
        print_json(detail)
    else:
        typer.echo(f"{made.made} made" + (f", {made.left} cannot be drawn" if made.left else ""))


def _made(settings: "Settings", database: "Database") -> "Made":
    from regionmir.archive.renditions import Made, count_missing, make_missing
    from regionmir.storage import open_store

    policy = settings.storage_policy
    with closing(open_store(settings)) as store, progress_bars() as move:
        total = count_missing(database, policy)

        def show(done: Made) -> None:
            move("thumbnails", done.made + done.left, total)

        return make_missing(database, store, policy, settings.max_pixels, show)


def add_to(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(thumbnails)
