"""What a check of `regionmir doctor` found."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How a check ended."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found, and what to do about it (empty if nothing)."""

    level: Level
    subject: str
    found: str
    advice: str = ""
