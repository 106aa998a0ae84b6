"""Two generations asked the same questions, before searches are given from one to the other."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from db import embeddings, findings, generations, shadow
from db.embeddings import Neighbour, NeighbourFilter
from db.patients import same_person
from db.shadow import SharedRegion
from regionmir.core.anatomy import Anatomy
from regionmir.core.errors import ModelError

if TYPE_CHECKING:
    from db.engine import Session
    from db.generations import RegisteredModel

K: Final = 10


@dataclass(frozen=True, slots=True)
class Compared:
    """One anatomy under two generations, over `questions` regions that both found.

    `overlap`: share of the ten most similar films that both give. `agree_now`, `agree_then`: share of the ten whose
    study has a finding of the query's, by the generation in use and by the other; None without findings.
    """

    anatomy: Anatomy
    questions: int
    overlap: float
    agree_now: float | None
    agree_then: float | None


@dataclass(frozen=True, slots=True)
class _Answers:
    """The films that two generations give to one question."""

    study_pk: int
    now: list[Neighbour]
    then: list[Neighbour]


def compare(session: "Session", model_pk: int, questions: int) -> list[Compared]:
    """Return how the generation of this number would answer, beside the one in use: one line for each common anatomy.

    Up to `questions` regions of each are asked, spread evenly over the films. Raises `ModelError` where there is no
    such generation with embeddings, or it is the one in use.
    """
    now, then = _generation(session, None), _generation(session, model_pk)
    if now.pk == then.pk:
        raise ModelError(f"searches use generation {model_pk} already")
    common = [anatomy for anatomy in then.info.anatomies if anatomy in now.info.anatomies]
    return [found for anatomy in common for found in _compared(session, now, then, anatomy, questions)]


def _generation(session: "Session", model_pk: int | None) -> "RegisteredModel":
    for one in generations.kept_up(session):
        if one.pk == model_pk or (model_pk is None and one.status == "active"):
            return one
    raise ModelError("nothing is indexed yet" if model_pk is None else f"no generation {model_pk} has embeddings")


def _compared(
    session: "Session", now: "RegisteredModel", then: "RegisteredModel", anatomy: Anatomy, questions: int
) -> Iterator[Compared]:
    asked = shadow.shared_regions(session, (now.pk, then.pk), anatomy.key, questions)
    if not asked:
        return
    answers = [
        _Answers(one.study_pk, _nearest(session, now, anatomy, one), _nearest(session, then, anatomy, one))
        for one in asked
    ]
    named = findings.of_studies(session, {hit.study_pk for a in answers for hit in (*a.now, *a.then)} | _asked(answers))
    yield Compared(
        anatomy,
        len(answers),
        sum(_overlap(a) for a in answers) / len(answers),
        _agreement([(a.study_pk, a.now) for a in answers], named),
        _agreement([(a.study_pk, a.then) for a in answers], named),
    )


def _asked(answers: list[_Answers]) -> set[int]:
    return {answer.study_pk for answer in answers}


def _nearest(session: "Session", one: "RegisteredModel", anatomy: Anatomy, asked: SharedRegion) -> list[Neighbour]:
    """Return the ten films most like the region under one generation, of other patients."""
    start = embeddings.region_vector(session, asked.instance_pk, one.pk, anatomy.key)
    assert start is not None
    return embeddings.nearest(
        session,
        model_pk=one.pk,
        anatomy_pk=anatomy.key,
        dim=one.info.dim,
        vector=start.vector,
        limit=K,
        filters=NeighbourFilter(
            exclude_patient_pks=same_person(session, asked.patient_pk), exclude_pixel_sha256=asked.pixel_sha256
        ),
    )


def _overlap(answers: _Answers) -> float:
    now, then = ({hit.instance_pk for hit in hits} for hits in (answers.now, answers.then))
    return len(now & then) / max(len(now), len(then), 1)


def _agreement(hits: list[tuple[int, list[Neighbour]]], named: dict[int, tuple[str, ...]]) -> float | None:
    """Return the share of hits with a finding of the query's study, over the queries with findings; None without."""
    shares = []
    for study_pk, found in hits:
        wanted = set(named.get(study_pk, ()))
        if wanted and found:
            shares.append(sum(bool(wanted & set(named.get(hit.study_pk, ()))) for hit in found) / len(found))
    return sum(shares) / len(shares) if shares else None
