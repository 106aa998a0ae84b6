"""`regionmir db`: the schema of the database, and the roles of the processes."""

import typer

from regionmir.admin.context import JSON, print_json, settings_in_force
from regionmir.core.settings import Settings, load_settings

app = typer.Typer(no_args_is_help=True, help="The schema of the database, and the roles of the processes.")


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
def roles(
    apply: bool = typer.Option(False, "--apply/--print", help="Make them, instead of printing the SQL."),
) -> None:
    """Print the SQL that makes one database role for each process, with no more rights than it needs.

    It is for an administrator of PostgreSQL, after each migration; then give each role a password.

    Example: regionmir db roles | psql -U postgres regionmir
    """
    from db import roles as roles_
    from db.engine import Database

    if not apply:
        typer.echo(roles_.script(), nl=False)
        return
    database = Database(_administration_url(settings_in_force()), application_name="regionmir roles", pool_size=1)
    try:
        roles_.apply(database)
    finally:
        database.close()
    typer.echo("roles made; give them passwords: `\\password regionmir_node` in psql")


def _administration_url(settings: Settings) -> str:
    """Return where roles are made: as the superuser of our own server, else as the role of the settings."""
    given = settings.require_database_url()
    if load_settings().database_url is None:  # `regionmir up` runs our own server
        from regionmir.admin.postgres import LocalPostgres

        return LocalPostgres(settings.data_dir / "postgres", settings.run_dir / "postgres").admin_url
    return given


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
