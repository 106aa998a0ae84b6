"""The measured constants: one table, each with what it is of, the machine and the command. Nothing is estimated."""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Measured:
    """One measured constant."""

    name: str
    value: float
    unit: str
    what: str
    machine: str
    how: str


@cache
def measured() -> dict[str, Measured]:
    """Return the constants by name."""
    text = files(__package__).joinpath("measured.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return {row["name"]: Measured(**{**row, "value": float(row["value"])}) for row in rows}  # type: ignore[arg-type]


def value(name: str) -> float:
    """Return the value of a constant."""
    return measured()[name].value
