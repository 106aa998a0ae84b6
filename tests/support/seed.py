"""Databases with studies in them: invented headers, filed and indexed through the functions that the node uses."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from db import generations, instances
from db.engine import Database
from db.instances import IndexedFilm
from regionmir.core.anatomy import Anatomy, anatomies
from regionmir.core.geometry import Box
from regionmir.core.pseudonyms import Pseudonymizer
from regionmir.core.records import DetectedRegion, EmbeddedRegion, GenerationInfo, InstanceHeader
from tests.support.records import PSEUDONYMIZER, element, generation, header, stored, unit_vectors

_OWNER = "seed"
_BATCH = 250


@dataclass(frozen=True, slots=True)
class SeedFilm:
    """One film to file. `vectors` (anatomies, dim): None leaves it waiting, in state `received`."""

    header: InstanceHeader
    vectors: npt.NDArray[np.float32] | None = None
    pixels: str = ""
    """Stands for the decoded pixels: films with the same text are the same film."""
    source_ae: str = "MODALITY"


def seed(
    database: Database,
    films: Iterable[SeedFilm],
    *,
    info: GenerationInfo | None = None,
    pseudonymizer: Pseudonymizer = PSEUDONYMIZER,
) -> int:
    """File films and index those with vectors, one region per anatomy of the generation; return the model's key."""
    info = info or generation()
    with database.session() as session:
        model_pk = generations.ensure_model(session, info)
    waiting = list(films)
    for start in range(0, len(waiting), _BATCH):
        _seed_batch(database, waiting[start : start + _BATCH], info, model_pk, pseudonymizer)
    return model_pk


def receive_films(database: Database, films: Iterable[SeedFilm], pseudonymizer: Pseudonymizer = PSEUDONYMIZER) -> None:
    """File films, which then wait to be indexed, in one transaction."""
    with database.session() as session:
        for one in films:
            instances.receive(
                session,
                one.header,
                stored(one.pixels + one.header.sop_instance_uid),
                source_ae=one.source_ae,
                source_address="127.0.0.1",
                called_ae="REGIONMIR",
                pseudonymizer=pseudonymizer,
                may_correct=True,
                same_content=lambda _old, _new: False,
            )


def film(
    number: int,
    vectors: npt.NDArray[np.float32] | None = None,
    *,
    patient: str | None = None,
    pixels: str = "",
    source_ae: str = "MODALITY",
    **attributes: Any,
) -> SeedFilm:
    """Return the only film of study `1.2.826.0.1.<number>`; attributes by tag as `records.header` takes them."""
    values: dict[str, Any] = {
        "t00100010": element("PN", {"Alphabetic": f"Canary{number}^Real"}),
        "t00100020": element("LO", patient or f"REALID{number}"),
        "t00080050": element("SH", f"ACC{number}"),
        "t00081030": element("LO", f"Canary description {number}"),
        **attributes,
    }
    study = f"1.2.826.0.1.{number}"
    head = header(1, study=study, patient_id=patient or f"REALID{number}", **values)
    return SeedFilm(head, vectors, pixels, source_ae)


def many_films(count: int, found: Sequence[Anatomy], dim: int) -> tuple[list[SeedFilm], GenerationInfo]:
    """Return `count` studies of one film and one patient each, with random vectors, and their generation."""
    vectors = unit_vectors(count * len(found), dim).reshape(count, len(found), dim)
    return [film(n, vectors[n]) for n in range(count)], generation("many", dim, found)


def all_found(count: int = 5) -> Sequence[Anatomy]:
    """Return the first anatomies of the table."""
    return anatomies()[:count]


def _seed_batch(
    database: Database, films: list[SeedFilm], info: GenerationInfo, model_pk: int, pseudonymizer: Pseudonymizer
) -> None:
    by_uid = {one.header.sop_instance_uid: one for one in films}
    receive_films(database, films, pseudonymizer)
    with database.session() as session:
        for claimed in instances.claim(session, _OWNER, len(films) + 1000, 60.0):
            mine = by_uid.get(claimed.sop_instance_uid)
            if mine is None or mine.vectors is None:
                instances.release(session, _OWNER, [claimed.pk])
                continue
            pixels = mine.pixels or f"pixels {claimed.sop_instance_uid}"
            found = IndexedFilm(claimed, _regions(info, mine.vectors), pixels, "seed")
            instances.finish_indexed(session, [found], owner=_OWNER, model_pk=model_pk)


def _regions(info: GenerationInfo, vectors: npt.NDArray[np.float32]) -> list[EmbeddedRegion]:
    return [
        EmbeddedRegion(DetectedRegion(anatomy, Box(10, 10, 100, 120), 0.9), vector)
        for anatomy, vector in zip(info.anatomies, vectors, strict=True)
    ]
