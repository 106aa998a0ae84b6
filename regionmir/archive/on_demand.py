"""What is asked for and no longer kept is fetched from its PACS first, where that is known."""

from typing import Final

from db import retrieve
from db.retrieve import Wanted
from regionmir.archive.archive import Archive
from regionmir.core.records import Disclosure
from regionmir.pacs.on_demand import fetch

MOST: Final = 500
"""Objects fetched for one request: who asks for more gets the rest with the next one."""


def fetch_missing(archive: Archive, wanted: Wanted, disclosure: Disclosure) -> None:
    """Fetch the objects of the wanted instances that are not kept as they came. Those that cannot be had stay so.

    Raises `DatabaseUnavailable`. The asker's right to retrieve has been checked.
    """
    with archive.database.session() as session:
        missing = retrieve.missing(session, wanted, disclosure, limit=MOST)
    if missing:
        fetch(archive.settings, archive.database, missing)
