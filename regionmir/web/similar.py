"""The similar studies of a region, as a page shows them under pseudonyms."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from db import browse, generations
from db.browse import BrowsedInstance
from regionmir.core.anatomy import Anatomy
from regionmir.core.errors import QueryRefused
from regionmir.core.records import Caller, Disclosure, Rights
from regionmir.query.request import RegionQuery
from regionmir.query.search import Hit, search
from regionmir.web.caller import WEB_AE
from regionmir.web.cards import InstanceCard, age_band, instance_card

if TYPE_CHECKING:
    from db.engine import Session


@dataclass(frozen=True, slots=True)
class SimilarCard:
    """One hit. `similarity` is a cosine, -1..1, never a probability."""

    rank: int
    similarity: float
    instance: InstanceCard
    url: str
    facts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Similar:
    """The answer to a search from a page: hits, or why there is none. `indexed` of `total` films were searched."""

    refusal: str = ""
    hits: tuple[SimilarCard, ...] = ()
    indexed: int = 0
    total: int = 0
    seconds: float = 0.0


def find_similar(session: "Session", instance: BrowsedInstance, anatomy: Anatomy, address: str, k: int) -> Similar:
    """Return the studies most like this region of this film, or why they cannot be searched. Writes nothing."""
    caller = Caller(WEB_AE, address, Rights(find=True), Disclosure.PSEUDONYMOUS, registered=False)
    began = time.perf_counter()
    try:
        answer = search(session, RegionQuery(instance.uid, (anatomy,), k), caller, keep=False)
    except QueryRefused as refusal:
        return Similar(refusal=str(refusal))
    model = generations.active(session)
    films = browse.instances_by_pk(
        session, [hit.instance_pk for hit in answer.hits], model_pk=model.pk if model else None
    )
    return Similar(
        hits=tuple(_card(hit, films[hit.instance_pk], anatomy) for hit in answer.hits if hit.instance_pk in films),
        indexed=answer.indexed,
        total=answer.total,
        seconds=time.perf_counter() - began,
    )


def _card(hit: Hit, film: BrowsedInstance, anatomy: Anatomy) -> SimilarCard:
    card = instance_card(film)
    facts = (*card.facts, age_band(film.age_years))
    return SimilarCard(hit.rank, hit.similarity, card, f"{card.url}/{anatomy.short}", tuple(f for f in facts if f))
