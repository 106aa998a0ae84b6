"""A question as a value: `SIM <anchor> [<regions>]` read from a key, and the query that every way in makes."""

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from db.find import Condition, Level
from regionmir.core.anatomy import (
    AE_PREFIX,
    ALL_REGIONS_AE,
    Anatomy,
    anatomies,
    anatomy_by_ae_title,
    anatomy_by_short,
)
from regionmir.core.errors import QueryRefused, UnknownAnatomy
from regionmir.core.geometry import Box
from regionmir.query.keys import Keys
from regionmir.query.matching import SERVICE_TAGS, FindRequest, Root, read_level
from regionmir.query.narrowing import FILTER_TAGS

STUDY_DESCRIPTION: Final = "00081030"
PATIENT_NAME: Final = "00100010"
LAST: Final = "LAST"
MAX_K: Final = 200

_WORDS: Final = {STUDY_DESCRIPTION: "SIM", PATIENT_NAME: "RGNSIM"}
_RANK = re.compile(r"#(\d{1,4})", re.ASCII)
_OPTION = re.compile(r"(K|BY)=(.*)", re.ASCII)
_RANK_AT: Final = 3
_GRAMMAR = "ask SIM <anchor> <region>, e.g. SIM 4711 LLLZ"


class Combine(StrEnum):
    """How several regions make one order: by the mean of their similarities, or by the mean of their ranks."""

    SIMILARITY = "similarity"
    RANK = "rank"


@dataclass(frozen=True, slots=True)
class Token:
    """A search expression as it was typed. `rank`: it repeats the description of a hit and means that hit alone;
    `label` is then the region as that description names it. `k` None: as many hits as the node gives unasked."""

    anchor: str
    anatomies: tuple[Anatomy, ...] = ()
    k: int | None = None
    combine: Combine = Combine.SIMILARITY
    rank: int | None = None
    label: str = ""
    box: Box | None = None


@dataclass(frozen=True, slots=True)
class RegionQuery:
    """Which studies have regions like those of the anchor? Every way in makes this value.

    `anchor`: accession number, Study, Series or SOP Instance UID (or its pseudonym), result-set code, or `LAST`.
    No `anatomies` is only good with a result-set code, which names its own. `k`: most hits, one per study.
    `narrow`: what hits must pass, in the form in which the caller sees it. `box`: a drawn box in stored pixels of the
    anchor, in place of the region that the model found there; for one anatomy.
    `with_same_patient`: other studies of the anchor's patient may be hits, for identified callers only.
    `last_within_s`: how old the study behind `LAST` may be. `view`, `finding`: hits must be of this view as we found
    it, of a study with this finding; empty: any.
    """

    anchor: str
    anatomies: tuple[Anatomy, ...]
    k: int = 10
    combine: Combine = Combine.SIMILARITY
    narrow: tuple[Condition, ...] = ()
    box: Box | None = None
    with_same_patient: bool = False
    last_within_s: float = 900.0
    view: str = ""
    finding: str = ""

    def __post_init__(self) -> None:
        check_k(self.k)
        if self.box is not None and len(self.anatomies) > 1:
            raise QueryRefused("bad-token", "a drawn box is compared with one region: name one")


def check_k(k: int) -> int:
    """Return `k` where so many hits may be asked for. Raises `QueryRefused`."""
    if not 1 <= k <= MAX_K:
        raise QueryRefused("bad-token", f"the number of hits must be 1 to {MAX_K}")
    return k


def expression_tag(keys: Keys, request: FindRequest, called_ae: str) -> str | None:
    """Return the tag of the key that holds a search expression, None where the query is ordinary matching.

    A search expression stands in a Study Root query for studies at an AE title `RGN_*`, alone among the keys or with
    filters. Only the description of a hit, asked again, may come with other keys: they are matched as always.
    Raises `QueryRefused` where two keys hold different expressions.
    """
    if request.root is not Root.STUDY or request.level is not Level.STUDY or not called_ae.startswith(AE_PREFIX):
        return None
    found = {tag: words for tag, word in _WORDS.items() if (words := _words(keys.text(tag)))[:1] == [word]}
    if not found:
        return None
    if len({tuple(words[1:]) for words in found.values()}) > 1:
        raise QueryRefused("contradiction", "StudyDescription and PatientName ask for different things")
    tag, words = next(iter(found.items()))
    is_hit = len(words) > _RANK_AT and _RANK.fullmatch(words[_RANK_AT]) is not None
    return tag if is_hit or _is_alone(keys, {*found, *SERVICE_TAGS, *FILTER_TAGS}) else None


def is_below_hit(keys: Keys, root: Root, called_ae: str) -> bool:
    """Return whether a query asks below a study at `RGN_*`: a description that it repeats is no attribute then."""
    return called_ae.startswith(AE_PREFIX) and read_level(keys, root).depth > Level.STUDY.depth


def without_expressions(keys: Keys) -> Keys:
    """Return the keys with every search expression universal."""
    for tag, word in _WORDS.items():
        if _words(keys.text(tag))[:1] == [word]:
            keys = keys.without(tag)
    return keys


def parse_token(text: str, called_ae: str) -> Token:
    """Return what `SIM ...` or `RGNSIM ...` at this called AE title asks for. Raises `QueryRefused`.

    Any case; stars around it are ignored, as clients add them; `^` is a blank, as a name's field turns blanks into it.
    """
    if "\\" in text:
        raise QueryRefused("bad-token", _GRAMMAR)
    words = text.strip("* ").replace("^", " ").split()[1:]
    if not words or words[0].startswith("#"):
        raise QueryRefused("bad-token", _GRAMMAR)
    anchor, *rest = words
    if "*" in anchor or "?" in anchor:
        raise QueryRefused("bad-token", "no wildcards in the anchor; " + _GRAMMAR)
    rank = next((n for n, word in enumerate(rest[:2]) if _RANK.fullmatch(word)), None)
    if rank is not None:
        return Token(anchor, rank=int(rest[rank][1:]), label=rest[0] if rank else "")
    return _with_options(Token(anchor), [word.upper() for word in rest], called_ae)


def read_regions(shorts: list[str], called_ae: str) -> tuple[Anatomy, ...]:
    """Return the regions named by their short forms, each once, else the one of the called AE title, none at `RGN_ALL`
    or at our own title. Raises `QueryRefused`."""
    by_ae = anatomy_by_ae_title(called_ae)
    if by_ae is None and called_ae != ALL_REGIONS_AE and called_ae.startswith(AE_PREFIX):
        raise QueryRefused("unknown-region", f"no region has the AE title {called_ae[:16]}")
    named = tuple(dict.fromkeys(_anatomy(short) for short in shorts))
    if by_ae is None or not named:
        return named or ((by_ae,) if by_ae else ())
    if named != (by_ae,):
        names = "+".join(anatomy.short for anatomy in named)
        raise QueryRefused("bad-token", f"{names} was asked at {called_ae}; ask RGN_ALL")
    return named


def _with_options(token: Token, words: list[str], called_ae: str) -> Token:
    shorts: list[str] = []
    for word in words:
        option = _OPTION.fullmatch(word)
        if option is None:
            shorts += [part for part in re.split("[+,]", word) if part]
        elif option[1] == "K":
            token = replace(token, k=read_k(option[2]))
        else:
            token = replace(token, combine=read_combine(option[2]))
    return replace(token, anatomies=read_regions(shorts, called_ae))


def read_k(text: str) -> int:
    """Return the number of hits that a text asks for. Raises `QueryRefused`."""
    return check_k(int(text) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else 0)


def read_combine(text: str) -> Combine:
    """Return how several regions are to be combined. Raises `QueryRefused`."""
    try:
        return Combine(text.lower())
    except ValueError:
        raise QueryRefused("bad-token", "regions combine by=similarity or by=rank") from None


def _is_alone(keys: Keys, allowed: set[str]) -> bool:
    return not any(key.asks for key in keys.by_tag.values() if key.tag not in allowed)


def _words(text: str) -> list[str]:
    return text.strip("* ").upper().replace("^", " ").split()


def _anatomy(short: str) -> Anatomy:
    try:
        return anatomy_by_short(short)
    except UnknownAnatomy:
        raise QueryRefused(
            "unknown-region", "unknown region; known: " + " ".join(a.short for a in anatomies())
        ) from None
