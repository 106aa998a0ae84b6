"""What the text of a key matches: dates, times, numbers, wildcards, names (PS3.4 C.2.2.2). Pure functions."""

import datetime as dt
import re
import unicodedata
from collections.abc import Callable
from typing import Final

from regionmir.core.records import DateRange

WILDCARD_VRS: Final = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
"""Value representations in which `*` and `?` are wildcards (PS3.4 C.2.2.2.4)."""

TIME_DIGITS: Final = 12
"""Digits of a time to compare: HHMMSSFFFFFF."""
DATETIME_DIGITS: Final = 20
"""Digits of a date with a time: YYYYMMDDHHMMSSFFFFFF."""

_DATE = re.compile(r"(\d{4})(\.?)(\d{2})\2(\d{2})", re.ASCII)
_TIME = re.compile(r"([01]\d|2[0-3])(?::?([0-5]\d)(?::?([0-5]\d|60)(?:\.(\d{1,6}))?)?)?", re.ASCII)
_DATETIME = re.compile(r"(\d{4}(?:\d{2}){0,5})(?:\.(\d{1,6}))?", re.ASCII)
_OFFSET = re.compile(r"[+-](0\d|1[0-4])\d{2}(?=-|$)", re.ASCII)
_SECONDS_DIGITS = 14


def has_wildcard(text: str) -> bool:
    """Return whether `text` holds `*` or `?`."""
    return "*" in text or "?" in text


def date_range(text: str) -> DateRange | None:
    """Return the days that a DA key matches: one day, `A-B`, `A-` or `-B`; None where it is none of these."""
    first, dash, last = text.partition("-")
    if not dash:
        last = first
    if not first and not last:
        return None
    days = [_day(part.strip()) if part.strip() else None for part in (first, last)]
    if any(part.strip() and day is None for part, day in zip((first, last), days, strict=True)):
        return None
    return DateRange(days[0], days[1])


def time_range(text: str) -> tuple[str, str] | None:
    """Return first and last instant (12 digits each) that a TM key matches, None where it is malformed.

    A time without minutes, seconds or fractions stands for all of that hour, minute or second.
    """
    return _digit_range(text, _time_digits, TIME_DIGITS)


def datetime_range(text: str) -> tuple[str, str] | None:
    """Return first and last instant (20 digits each) that a DT key matches; offsets from UTC are not applied."""
    return _digit_range(_OFFSET.sub("", text), _datetime_digits, DATETIME_DIGITS)


def integer(text: str) -> int | None:
    """Return the number of an IS (or US, UL, SS, SL) key, None where it is none."""
    return int(text) if re.fullmatch(r"[+-]?\d{1,12}", text, re.ASCII) else None


def decimal(text: str) -> tuple[float, ...]:
    """Return the number of a DS (or FL, FD) key, none where it is none."""
    return (float(text),) if re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", text, re.ASCII) else ()


def wildcard_pattern(text: str) -> re.Pattern[str]:
    """Return the regular expression that a wildcard key stands for: `*` any text, `?` one character."""
    parts = {"*": ".*", "?": "."}
    return re.compile("".join(parts.get(c) or re.escape(c) for c in text), re.DOTALL)


def fold_name(text: str) -> str:
    """Return a name as it is compared: compatibility forms made one (NFKC), capitals made small, one letter for one."""
    return "".join(c.lower() if len(c.lower()) == 1 else c for c in unicodedata.normalize("NFKC", text))


def name_patterns(text: str) -> tuple[str, ...]:
    """Return regular expressions that all must be found in the folded name, groups joined by `=` (PS3.4 C.2.2.2.1).

    A key of one component group may match any group of the name; a key with `=` matches group by group, an empty one
    any. Components are compared one by one; those that the key leaves empty or out match any. `*` runs across
    components, not across groups. The expressions mean the same to Python and to PostgreSQL.
    """
    groups = [group.strip() for group in fold_name(text).split("=")]
    if len(groups) == 1:
        return (rf"(\A|=){_group_pattern(groups[0])}(=|\Z)",)
    return tuple(
        rf"\A([^=]*=){{{position}}}{_group_pattern(group)}(=|\Z)"
        for position, group in enumerate(groups)
        if group.strip("*^ ")
    )


def _group_pattern(group: str) -> str:
    components = [component.strip() for component in group.rstrip("^ ").split("^")]
    return " *" + r" *\^ *".join(_component_pattern(c) for c in components) + r" *(\^[^=]*)?"


def _component_pattern(component: str) -> str:
    if not component:
        return "[^=^]*"
    parts = {"*": "[^=]*", "?": "[^=]"}
    return "".join(parts.get(c) or re.escape(c) for c in re.sub(r"\*+", "*", component))


def _day(text: str) -> dt.date | None:
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    try:
        return dt.date(int(match[1]), int(match[3]), int(match[4]))
    except ValueError:
        return None


def _time_digits(text: str) -> str | None:
    match = _TIME.fullmatch(text)
    return None if match is None else "".join(part or "" for part in match.groups())


def _datetime_digits(text: str) -> str | None:
    match = _DATETIME.fullmatch(text)
    if match is None or (match[2] and len(match[1]) != _SECONDS_DIGITS):
        return None
    return match[1] + (match[2] or "")


def _digit_range(text: str, digits_of: Callable[[str], str | None], width: int) -> tuple[str, str] | None:
    first, dash, last = (part.strip() for part in text.partition("-"))
    low, high = digits_of(first), digits_of(last if dash else first)
    if (first and low is None) or (last and high is None) or not (first or last):
        return None
    return (low or "").ljust(width, "0"), (high or "").ljust(width, "9")
