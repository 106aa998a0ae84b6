"""Errors of data sets: each names the file and, where there is one, the row."""

from pathlib import Path

from regionmir.core.errors import RegionMirError


class DataError(RegionMirError):
    """A data set cannot be used as it is; whoever made it must correct it."""

    def __init__(self, file: Path | str, message: str, row: int | None = None) -> None:
        where = f"{file}, row {row}" if row is not None else str(file)
        super().__init__(f"{where}: {message}")
        self.row = row
