"""What a similarity says: of hits with such a score, how many share the query's finding?"""

from typing import Any

import numpy as np

from models.evaluate.analysed import Analysed
from models.evaluate.cases import Cases, join, make_cases, no_cases
from models.evaluate.retrieval import forbidden, rank
from regionmir.core.anatomy import anatomies

DEPTH = 10
"""Hits of each query that are looked at: what a reader sees first."""
BINS = 10


def hit_cases(database: Analysed, queries: Analysed) -> Cases:
    """Return a case per hit: the ten best of each labelled query region, with `similarity` and `same_finding`."""
    parts, barred = [], forbidden(queries, database)
    for slot in range(len(anatomies())):
        if not queries.known[:, slot].any():
            continue
        q = np.flatnonzero(queries.found[:, slot] & (queries.findings != ""))
        m = np.flatnonzero(database.found[:, slot] & (database.findings != ""))
        if len(q) and len(m):
            shut = barred[np.ix_(q, m)]
            ranked = rank(queries.vectors[q, slot], database.vectors[m, slot], shut)
            depth = min(DEPTH, len(m))
            same = ranked.relevant(queries.findings[q], database.findings[m])[:, :depth]
            kept = np.isfinite(ranked.similarity[:, :depth])
            rows = np.broadcast_to(q[:, None], kept.shape)[kept]
            values = {"similarity": ranked.similarity[:, :depth][kept], "same_finding": same[kept]}
            parts.append(make_cases(queries.patients, rows, np.full(len(rows), slot), values))
    return join(parts) if parts else no_cases("similarity", "same_finding")


def reliability(cases: Cases) -> list[dict[str, Any]]:
    """Return the table: tenths of the hits by similarity, from low to high, with the share of same-finding hits."""
    if not len(cases):
        return []
    similarity = cases.values["similarity"]
    edges = np.unique(np.quantile(similarity, np.linspace(0, 1, BINS + 1)))
    of = np.clip(np.searchsorted(edges, similarity, side="right") - 1, 0, max(len(edges) - 2, 0))
    return [
        {
            "from": round(float(part.values["similarity"].min()), 4),
            "to": round(float(part.values["similarity"].max()), 4),
        }
        | part.figures()
        for part in (cases.take(of == b) for b in np.unique(of))
    ]
