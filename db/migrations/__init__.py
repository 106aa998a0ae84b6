"""Alembic's folder: `db.migrate` runs it, no `alembic.ini` is needed."""
