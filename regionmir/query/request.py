"""A question as a value: `SIM <anchor> [<region>]` read from a key, and the query that it makes."""

import re
from dataclasses import dataclass
from typing import Final

from db.find import Level
from regionmir.core.anatomy import (
    AE_PREFIX,
    ALL_REGIONS_AE,
    Anatomy,
    anatomies,
    anatomy_by_ae_title,
    anatomy_by_short,
)
from regionmir.core.errors import QueryRefused, UnknownAnatomy
from regionmir.query.keys import Keys
from regionmir.query.matching import SERVICE_TAGS, FindRequest, Root

STUDY_DESCRIPTION: Final = "00081030"
PATIENT_NAME: Final = "00100010"
LAST: Final = "LAST"
MAX_K: Final = 200

_WORDS: Final = {STUDY_DESCRIPTION: "SIM", PATIENT_NAME: "RGNSIM"}
_RANK = re.compile(r"#(\d{1,4})", re.ASCII)
_RANK_AT: Final = 3
_GRAMMAR = "ask SIM <anchor> <region>, e.g. SIM 4711 LLLZ"


@dataclass(frozen=True, slots=True)
class Token:
    """A search expression as it was typed. `rank`: it repeats the description of a hit and means that hit alone."""

    anchor: str
    anatomy: Anatomy | None
    rank: int | None = None


@dataclass(frozen=True, slots=True)
class RegionQuery:
    """Which studies have a region like the one of the anchor?

    `anchor`: accession number, Study, Series or SOP Instance UID (or its pseudonym), result-set code, or `LAST`.
    `anatomy` None is only good with a result-set code, which names its own. `k`: most hits, one per study.
    `with_same_patient`: other studies of the anchor's patient may be hits, for identified callers only.
    `last_within_s`: how old the study behind `LAST` may be.
    """

    anchor: str
    anatomy: Anatomy | None
    k: int = 10
    with_same_patient: bool = False
    last_within_s: float = 900.0

    def __post_init__(self) -> None:
        if not 1 <= self.k <= MAX_K:
            raise QueryRefused("bad-token", f"the number of hits must be 1 to {MAX_K}")


def expression_tag(keys: Keys, request: FindRequest, called_ae: str) -> str | None:
    """Return the tag of the key that holds a search expression, None where the query is ordinary matching.

    A search expression is alone among the keys of a Study Root query for studies at an AE title `RGN_*`. Only the
    description of a hit, asked again, may come with other keys: they are matched as always.
    """
    if request.root is not Root.STUDY or request.level is not Level.STUDY or not called_ae.startswith(AE_PREFIX):
        return None
    for tag, word in _WORDS.items():
        words = _words(keys.text(tag))
        if words and words[0].upper() == word:
            is_hit = len(words) > _RANK_AT and _RANK.fullmatch(words[_RANK_AT]) is not None
            return tag if is_hit or _is_alone(keys, tag) else None
    return None


def parse_token(text: str, called_ae: str) -> Token:
    """Return what `SIM ...` or `RGNSIM ...` at this called AE title asks for. Raises `QueryRefused`.

    Any case; stars around it are ignored, as clients add them; `^` is a blank, as a name's field turns blanks into it.
    """
    if "\\" in text:
        raise QueryRefused("bad-token", _GRAMMAR)
    words = _words(text)[1:]
    if not words or words[0].startswith("#"):
        raise QueryRefused("bad-token", _GRAMMAR)
    anchor, *rest = words
    if "*" in anchor or "?" in anchor:
        raise QueryRefused("bad-token", "no wildcards in the anchor; " + _GRAMMAR)
    short, rest = (rest[0], rest[1:]) if rest and not rest[0].startswith("#") else ("", rest)
    rank = _rank(rest)
    if rest and rank is None:
        raise QueryRefused("bad-token", "too many words; " + _GRAMMAR)
    return Token(anchor, _anatomy(short, called_ae), rank)


def _is_alone(keys: Keys, tag: str) -> bool:
    return not any(key.asks for key in keys.by_tag.values() if key.tag not in (tag, *SERVICE_TAGS))


def _words(text: str) -> list[str]:
    return text.strip("* ").replace("^", " ").replace("=", " ").split()


def _rank(words: list[str]) -> int | None:
    match = _RANK.fullmatch(words[0]) if words else None
    return int(match[1]) if match else None


def _anatomy(short: str, called_ae: str) -> Anatomy | None:
    """Return the region that the token names, else the one of the called AE title, None at `RGN_ALL`."""
    by_ae = anatomy_by_ae_title(called_ae)
    if by_ae is None and called_ae != ALL_REGIONS_AE:
        raise QueryRefused("unknown-region", f"no region has the AE title {called_ae[:16]}")
    if not short:
        return by_ae
    try:
        named = anatomy_by_short(short)
    except UnknownAnatomy:
        raise QueryRefused(
            "unknown-region", "unknown region; known: " + " ".join(a.short for a in anatomies())
        ) from None
    if by_ae is not None and by_ae != named:
        raise QueryRefused("bad-token", f"{named.short} was asked at {called_ae}; ask RGN_{named.short} or RGN_ALL")
    return named
