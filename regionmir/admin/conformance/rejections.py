"""Rejection notes: which document titles reject, and what each does unless the settings say otherwise."""

from regionmir.admin.conformance.tables import markdown_table
from regionmir.core.rejection import TITLES


def rejection_titles() -> str:
    """Return the document titles of rejection notes."""
    rows = [(f"({title.code}, DCM)", title.meaning, f"`{title.reaction}`") for title in TITLES.values()]
    return markdown_table(("title", "meaning", "default"), rows)
