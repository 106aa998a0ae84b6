"""The 29 anatomies of Chest ImaGenome with their codes; the list is data (`anatomies.csv`)."""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from regionmir.core.errors import UnknownAnatomy

AE_PREFIX = "RGN_"
ALL_REGIONS_AE = "RGN_ALL"
SIDES = {("SCT", "24028007"): "R", ("SCT", "7771000"): "L", ("SRT", "G-A100"): "R", ("SRT", "G-A101"): "L"}
"""Codes of laterality (CID 244), by scheme and value; SRT is SNOMED's older spelling."""
SIDE_CODES = {"R": ("24028007", "SCT", "Right"), "L": ("7771000", "SCT", "Left")}


@dataclass(frozen=True, slots=True)
class Anatomy:
    """One anatomical label. `key` is its stable number (1 to 29, also the primary key of table `anatomy`)."""

    key: int
    name: str
    short: str
    laterality: Literal["R", "L", ""]
    code_value: str
    coding_scheme: str
    code_meaning: str
    ae_title: str
    gold: bool


@cache
def anatomies() -> tuple[Anatomy, ...]:
    """Return all anatomies in their fixed order: `anatomies()[a.key - 1] is a`."""
    text = files("regionmir.core").joinpath("anatomies.csv").read_text(encoding="utf-8")
    found = []
    for key, line in enumerate(csv.DictReader(text.splitlines()), start=1):
        side = line["laterality"]
        assert side in ("R", "L", "")
        found.append(
            Anatomy(
                key,
                line["anatomy"],
                line["short"],
                side,  # type: ignore[arg-type]
                line["code_value"],
                line["coding_scheme"],
                line["code_meaning"],
                line["ae_title"],
                line["gold"] == "yes",
            )
        )
    return tuple(found)


@cache
def _by(field: str) -> dict[str, Anatomy]:
    return {str(getattr(a, field)): a for a in anatomies()}


def anatomy_by_key(key: int) -> Anatomy:
    """Return the anatomy with this number. Raises `UnknownAnatomy`."""
    if not 1 <= key <= len(anatomies()):
        raise UnknownAnatomy(f"no anatomy has the number {key}")
    return anatomies()[key - 1]


def anatomy_by_name(name: str) -> Anatomy:
    """Return the anatomy of this Chest ImaGenome `bbox_name`. Raises `UnknownAnatomy`."""
    try:
        return _by("name")[name]
    except KeyError:
        raise UnknownAnatomy(f"unknown anatomy {name[:40]!r}") from None


def anatomy_by_short(short: str) -> Anatomy:
    """Return the anatomy of a short form such as `LLLZ` (any case). Raises `UnknownAnatomy`."""
    try:
        return _by("short")[short.upper()]
    except KeyError:
        known = " ".join(a.short for a in anatomies())
        raise UnknownAnatomy(f"unknown region {short[:16]!r}; known: {known}") from None


def anatomies_by_code(value: str, scheme: str = "", laterality: str = "") -> tuple[Anatomy, ...]:
    """Return the anatomies of a code, in any coding scheme and on either side where none is named; none is unknown."""
    return tuple(
        a
        for a in anatomies()
        if a.code_value == value and scheme in ("", a.coding_scheme) and laterality in ("", a.laterality)
    )


def anatomy_by_ae_title(title: str) -> Anatomy | None:
    """Return the anatomy that a called AE title such as `RGN_LLLZ` names, or None."""
    return _by("ae_title").get(title)
