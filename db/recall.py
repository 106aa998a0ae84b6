"""How well the search by index finds what an exact search finds, measured on the data that is there."""

from collections.abc import Callable

from db import embeddings
from db.engine import Database
from db.generations import active

K = 10
PROBES = 5
"""Regions of each anatomy that one probe starts from."""

_TIE = 1e-3
"""A hit that is less similar than the exact tenth by no more than this counts as found: to a reader they are alike."""


def probe_recall(database: Database, say: Callable[[str, float], None]) -> int:
    """Tell `say` for each anatomy (short form) with an HNSW index which share of the exact ten nearest it finds.

    Of the active model; return of how many anatomies. Each is compared in a transaction of its own; an exact search
    reads the whole leaf. Raises `DatabaseUnavailable`.
    """
    with database.session() as session:
        model = active(session)
        anatomies = {} if model is None else {anatomy.key: anatomy.short for anatomy in model.info.anatomies}
        leaves = [] if model is None else embeddings.indexed_leaves(session, model.pk, anatomies)
    for anatomy_pk in leaves:
        assert model is not None
        found = _recall(database, model.pk, model.info.dim, anatomy_pk)
        if found is not None:
            say(anatomies[anatomy_pk], found)
    return len(leaves)


def _recall(database: Database, model_pk: int, dim: int, anatomy_pk: int) -> float | None:
    with database.session() as session:
        vectors = embeddings.sample(session, model_pk, anatomy_pk, PROBES)
        found: list[float] = []
        for vector in vectors:
            by_index, exact = (
                _similarities(
                    embeddings.nearest(
                        session,
                        model_pk=model_pk,
                        anatomy_pk=anatomy_pk,
                        dim=dim,
                        vector=vector,
                        limit=K,
                        exact=way,
                    )
                )
                for way in (False, True)
            )
            if exact:
                found.append(sum(one >= exact[-1] - _TIE for one in by_index) / len(exact))
    return sum(found) / len(found) if found else None


def _similarities(neighbours: list[embeddings.Neighbour]) -> list[float]:
    return [one.similarity for one in neighbours]
