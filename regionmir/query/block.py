"""The private block of structured queries (way E): programs state anchor, regions, k and a drawn box in elements.

Creator `REGIONMIR QUERY` in group 0099. All values are text, so that a client that sends VR UN is understood too.
"""

from typing import Final

from pydicom.dataset import Dataset

from db.find import Level
from regionmir.core.errors import InvalidBox, QueryRefused
from regionmir.core.geometry import Box
from regionmir.query.keys import BLOCK_CREATOR, BLOCK_GROUP, Keys
from regionmir.query.matching import SERVICE_TAGS, FindRequest, Root
from regionmir.query.narrowing import FILTER_TAGS
from regionmir.query.request import Combine, Token, expression_tag, parse_token, read_combine, read_k, read_regions
from regionmir.query.search import Answer, Hit

ANCHOR: Final = 0x01  # LO 1
REGIONS: Final = 0x02  # CS 1-n
K: Final = 0x03  # IS 1
COMBINE: Final = 0x04  # CS 1
BOX: Final = 0x05  # DS 4
CODE: Final = 0x10  # LO 1, in answers
RANK: Final = 0x11  # IS 1, in answers
SIMILARITY: Final = 0x12  # DS 1, in answers


def read_expression(keys: Keys, request: FindRequest, called_ae: str) -> Token | None:
    """Return what a similarity query asks for, in a search expression or the private block; None for ordinary matching.

    Raises `QueryRefused`.
    """
    tag = expression_tag(keys, request, called_ae)
    if keys.block:
        if tag is not None:
            raise QueryRefused("contradiction", "a search expression and a private block: send one of them")
        return _block_token(keys, request, called_ae)
    return None if tag is None else parse_token(keys.text(tag), called_ae)


def add_to_answer(found: Dataset, answer: Answer, hit: Hit) -> None:
    """Add code, rank and similarity of a hit to its data set, as the block's elements."""
    block = found.private_block(BLOCK_GROUP, BLOCK_CREATOR, create=True)
    block.add_new(CODE, "LO", answer.code)
    block.add_new(RANK, "IS", str(hit.rank))
    block.add_new(SIMILARITY, "DS", f"{hit.similarity:.6f}")


def _block_token(keys: Keys, request: FindRequest, called_ae: str) -> Token:
    if request.root is not Root.STUDY or request.level is not Level.STUDY:
        raise QueryRefused("bad-token", "a structured query is a Study Root query at level STUDY")
    allowed = SERVICE_TAGS | FILTER_TAGS
    others = [key.keyword for key in keys.by_tag.values() if key.asks and key.tag not in allowed]
    if others:
        raise QueryRefused("contradiction", f"a structured query takes filters, not {others[0]}")
    anchor = keys.block.get(ANCHOR, "")
    if not anchor or "*" in anchor or "?" in anchor or "\\" in anchor:
        raise QueryRefused("bad-token", "the private block needs one anchor, without wildcards")
    shorts = [short.strip() for short in keys.block.get(REGIONS, "").split("\\")]
    k, combine, box = (keys.block.get(element, "") for element in (K, COMBINE, BOX))
    return Token(
        anchor,
        read_regions([short for short in shorts if short], called_ae),
        read_k(k) if k else None,
        read_combine(combine) if combine else Combine.SIMILARITY,
        box=_box(box) if box else None,
    )


def _box(text: str) -> Box:
    try:
        return Box(*(float(part) for part in text.split("\\")))
    except (ValueError, TypeError, InvalidBox):
        raise QueryRefused("bad-box", "the box must be x0, y0, x1, y1 in stored pixels, x0 < x1, y0 < y1") from None
