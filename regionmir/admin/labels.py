"""Findings from a CSV file, joined to instances by SOP Instance UID or accession number."""

from pathlib import Path

from models.data.errors import DataError
from models.data.tables import table_rows

_KEYS = ("sop_instance_uid", "accession_number")
_FINDING = "finding"


class Labels:
    """Findings by the original SOP Instance UID, else by accession number; knows which rows were of use."""

    def __init__(self, findings: dict[tuple[str, str], str]) -> None:
        self._findings = findings
        self._used: set[tuple[str, str]] = set()

    def finding(self, sop_instance_uid: str, accession_number: str) -> str:
        """Return the finding of an instance, empty where none is known."""
        for key in (("sop_instance_uid", sop_instance_uid), ("accession_number", accession_number)):
            if key[1] and key in self._findings:
                self._used.add(key)
                return self._findings[key]
        return ""

    @property
    def unused(self) -> int:
        """Return how many keys named no instance so far."""
        return len(self._findings) - len(self._used)


def read_labels(file: Path) -> Labels:
    """Return the labels in `file`: columns `finding` and `sop_instance_uid` or `accession_number` (or both).

    A row's first filled key counts, an empty finding is unknown. Raises `DataError` that names the row, never its key.
    """
    findings: dict[tuple[str, str], str] = {}
    for row, line in table_rows(file, (_FINDING,)):
        if not any(key in line for key in _KEYS):
            raise DataError(file, f"lacks a column {' or '.join(_KEYS)}", 1)
        key = next(((name, line[name].strip()) for name in _KEYS if (line.get(name) or "").strip()), None)
        if key is None:
            raise DataError(file, f"{' and '.join(_KEYS)} are empty", row)
        finding = line[_FINDING].strip()
        if findings.setdefault(key, finding) != finding:
            raise DataError(file, "gives another finding to an instance that an earlier row names", row)
    return Labels({key: finding for key, finding in findings.items() if finding})
