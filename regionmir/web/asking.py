"""What a page asks for, as it stands in the page's address: a region or a drawn box, filters, the hit looked at."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urlencode

from regionmir.core.anatomy import Anatomy
from regionmir.core.errors import InvalidBox, QueryRefused
from regionmir.core.geometry import Box
from regionmir.core.records import Disclosure
from regionmir.core.terms import SEXES
from regionmir.query.keys import QUERY_RETRIEVE_LEVEL, Key, Keys
from regionmir.query.matching import STUDY_DATE
from regionmir.query.narrowing import PATIENT_AGE, PATIENT_SEX, narrowing
from regionmir.query.request import RegionQuery

VIEWS: Final = ("PA", "AP")
OLDEST: Final = 130
MIN_SIDE_PX: Final = 4.0
"""A drawn box smaller than this along a side was a click."""


@dataclass(frozen=True, slots=True)
class Filters:
    """What hits must pass, in the form in which the asker sees them; empty or None is no restriction."""

    view: str = ""
    sex: str = ""
    age_from: int | None = None
    age_to: int | None = None
    date_from: dt.date | None = None
    date_to: dt.date | None = None
    finding: str = ""
    same_patient: bool = False
    """Other studies of the same patient may be hits; heeded for identified callers alone."""

    @property
    def count(self) -> int:
        """Return how many restrictions there are."""
        ages, dates = (self.age_from, self.age_to), (self.date_from, self.date_to)
        ranges = sum(any(end is not None for end in ends) for ends in (ages, dates))
        return ranges + sum(map(bool, (self.view, self.sex, self.finding)))

    def fields(self) -> dict[str, str]:
        """Return the fields of an address or form that say the same."""
        stated = {
            "view": self.view,
            "sex": self.sex,
            "age_from": "" if self.age_from is None else str(self.age_from),
            "age_to": "" if self.age_to is None else str(self.age_to),
            "date_from": self.date_from.isoformat() if self.date_from else "",
            "date_to": self.date_to.isoformat() if self.date_to else "",
            "finding": self.finding,
            "same_patient": "yes" if self.same_patient else "",
        }
        return {name: value for name, value in stated.items() if value}


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of a page. `box`: drawn, in pixels of the film as viewed; `rank`: of the hit that is looked at."""

    anatomy: Anatomy
    box: Box | None = None
    filters: Filters = field(default_factory=Filters)
    rank: int = 1

    def fields(self) -> dict[str, str]:
        """Return the fields of the address beside its path, the rank left out where it is the first."""
        box = {"box": box_text(self.box)} if self.box else {}
        return {**box, **self.filters.fields(), **({"hit": str(self.rank)} if self.rank > 1 else {})}

    def path(self, film_url: str) -> str:
        """Return the address of this question about the film at `film_url`."""
        fields = self.fields()
        return f"{film_url}/{self.anatomy.short}" + (f"?{urlencode(fields)}" if fields else "")

    def at(self, rank: int) -> "Asked":
        """Return the same question, looking at another hit."""
        return replace(self, rank=rank)

    def query(self, instance_uid: str, box: Box | None, k: int, disclosure: Disclosure) -> RegionQuery:
        """Return the query of this question; `box` is the drawn one in stored pixels. Raises `InvalidKey`."""
        filters, keys = self.filters, _keys(self.filters)
        return RegionQuery(
            instance_uid,
            (self.anatomy,),
            k,
            narrow=narrowing(keys, disclosure) if keys.by_tag else (),
            box=box,
            with_same_patient=filters.same_patient,
            view=filters.view,
            finding=filters.finding,
        )


def read_asked(anatomy: Anatomy, fields: Mapping[str, str]) -> Asked:
    """Return the question of an address or form. Raises `QueryRefused`: says which field is wrong, and how it looks."""
    filters = Filters(
        view=_one_of("view", fields.get("view", ""), VIEWS),
        sex=_one_of("sex", fields.get("sex", ""), SEXES),
        age_from=_number("age_from", fields.get("age_from", ""), OLDEST),
        age_to=_number("age_to", fields.get("age_to", ""), OLDEST),
        date_from=_date("date_from", fields.get("date_from", "")),
        date_to=_date("date_to", fields.get("date_to", "")),
        finding=fields.get("finding", "").replace("\0", "").strip().lower(),
        same_patient=fields.get("same_patient", "") == "yes",
    )
    box = read_box(fields["box"]) if fields.get("box") else None
    return Asked(anatomy, box, filters, _number("hit", fields.get("hit", ""), 999) or 1)


def read_box(text: str) -> Box:
    """Return the box `x0,y0,x1,y1`. Raises `QueryRefused` where it is none, or too small to be meant."""
    try:
        x0, y0, x1, y1 = (float(part) for part in text.split(","))
        box = Box(x0, y0, x1, y1)
    except (ValueError, InvalidBox):
        raise QueryRefused("bad-box", "That is no box with an area: draw it again.") from None
    if min(box.width, box.height) < MIN_SIDE_PX:
        raise QueryRefused("bad-box", "The box is too small to compare: draw a larger one.")
    return box


def box_text(box: Box) -> str:
    """Return a box as it stands in an address."""
    return ",".join(f"{value:.1f}" for value in box.as_tuple())


def _keys(filters: Filters) -> Keys:
    sex, age = filters.sex, _range(filters.age_from, filters.age_to, "{:03d}Y")
    date = _range(filters.date_from, filters.date_to, "{:%Y%m%d}")
    stated = [(STUDY_DATE, "DA", date), (PATIENT_SEX, "CS", sex), (PATIENT_AGE, "AS", age)]
    stated = [one for one in stated if one[2]]
    if stated:
        stated.append((QUERY_RETRIEVE_LEVEL, "CS", "STUDY"))
    return Keys({tag: Key(tag, vr, (text,)) for tag, vr, text in stated})


def _range(first: object, last: object, form: str) -> str:
    if first is None and last is None:
        return ""
    return "-".join("" if end is None else form.format(end) for end in (first, last))


def _one_of(name: str, text: str, known: tuple[str, ...]) -> str:
    if text and text not in known:
        raise QueryRefused("bad-filter", f"The filter {name} must be one of {', '.join(known)}.")
    return text


def _number(name: str, text: str, most: int) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 3 and int(text) <= most):
        raise QueryRefused("bad-filter", f"{name} must be a whole number from 0 to {most}.")
    return int(text)


def _date(name: str, text: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text) if text else None
    except ValueError:
        raise QueryRefused("bad-filter", f"{name} must be a date such as 2026-01-31.") from None
