"""`regionmir db`: the schema of the database."""

import typer

from regionmir.admin.context import JSON, print_json, settings_in_force

app = typer.Typer(no_args_is_help=True, help="The schema of the database.")


@app.command()
def upgrade() -> None:
    """Bring the schema to the version of this RegionMIR. `regionmir up` does this itself.

    Example: REGIONMIR_DATABASE_URL=postgresql://regionmir@db/regionmir regionmir db upgrade
    """
    from db.engine import Database
    from db.migrate import head
    from db.migrate import upgrade as upgrade_schema

    database = Database(settings_in_force().require_database_url(), application_name="regionmir migration", pool_size=1)
    try:
        upgrade_schema(database)
    finally:
        database.close()
    typer.echo(f"schema {head()}")


@app.command()
def current(as_json: bool = JSON) -> None:
    """Print the version of the schema, and the one that this RegionMIR needs.

    Example: regionmir db current
    """
    from db import migrate
    from db.engine import Database

    database = Database(settings_in_force().require_database_url(), application_name="regionmir cli", pool_size=1)
    try:
        found = migrate.current(database)
    finally:
        database.close()
    needed = migrate.head()
    if as_json:
        print_json({"current": found, "needed": needed})
    elif found == needed:
        typer.echo(f"schema {found}, which is the newest")
    else:
        typer.echo(f"schema {found or 'none'}; {needed} is needed: run `regionmir db upgrade`")
