"""Schema `analytics`: views for statistics, free of identities. Each `.sql` file here holds one, with its comment.

Views hold no data: a migration that changes one calls `install` again, which makes them all anew.
"""

from importlib.resources import files

from sqlalchemy import Connection, text


def install(connection: Connection) -> None:
    """Make schema `analytics` anew with all its views."""
    connection.execute(text("DROP SCHEMA IF EXISTS analytics CASCADE"))
    connection.execute(text("CREATE SCHEMA analytics"))
    connection.execute(text("COMMENT ON SCHEMA analytics IS 'Statistics without identities of patients'"))
    for file in sorted(files(__name__).iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".sql"):
            connection.exec_driver_sql(file.read_text(encoding="utf-8"))
