"""Changing many instances at once: locked in the order of their keys, as by all who hold several, so that none of them
waits for another that waits for it."""

from sqlalchemy import ColumnElement, Update, select, update

from db.tables import InstanceRow


def updating(*which: ColumnElement[bool]) -> Update:
    """Return an UPDATE of the instances that fulfil these conditions, which may name other tables, without values."""
    row = InstanceRow
    held = select(row.pk).where(*which).order_by(row.pk).with_for_update(of=row, key_share=True).cte("held")
    return update(row).where(row.pk == held.c.pk)
