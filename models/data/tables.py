"""Rows of CSV and TSV files, with errors that name file and row."""

import csv
from collections.abc import Iterator
from pathlib import Path

from models.data.errors import DataError


def table_rows(file: Path, columns: tuple[str, ...], delimiter: str = ",") -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (row, values by column) of a table in UTF-8, with or without a byte order mark; 1 is the row of names.

    Raises `DataError` where the file is absent or no table, lacks one of `columns`, or a row has too few values.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, delimiter=delimiter)
            missing = [c for c in columns if c not in (reader.fieldnames or [])]
            if missing:
                raise DataError(file, f"lacks the columns {', '.join(missing)}", 1)
            for row, line in enumerate(reader, start=2):
                if any(line[c] is None for c in columns):
                    raise DataError(file, "has too few values", row)
                yield row, line
    except FileNotFoundError:
        raise DataError(file, "does not exist") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(file, f"is no CSV file in UTF-8 ({error})") from None
