"""How much of the exact answer an approximate index returns.

The index is handed in: this package knows none. M entries, Q queries, D length of a vector.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from models.evaluate.analysed import Analysed
from models.evaluate.cases import Cases, join, make_cases, no_cases

Array = npt.NDArray[np.float32]
Search = Callable[[Array, Array, int], npt.NDArray[np.int64]]
"""Maps entries (M, D), queries (Q, D) and k to the rows (Q, k) found, best first; -1 where fewer were found."""
NEAR = 1e-3
"""A hit this close to the exact tenth counts: such ties no reader could tell apart."""
K = 10


def ann_cases(database: Analysed, queries: Analysed, search: Search, limit: int) -> Cases:
    """Return a case per query region, of the `limit` best filled anatomies: `recall_10` and `recall_10_by_id`.

    `recall_10` counts a hit whose similarity is within 1e-3 of the exact tenth, `recall_10_by_id` one that is itself
    among the exact ten. Anatomies with fewer than ten entries are left out.
    """
    counts = database.found.sum(axis=0)
    parts = []
    for slot in np.argsort(-counts, kind="stable")[:limit]:
        m, q = np.flatnonzero(database.found[:, slot]), np.flatnonzero(queries.found[:, slot])
        if len(m) < K or not len(q):
            continue
        base, asked = database.vectors[m, slot], queries.vectors[q, slot]
        values = recall(asked @ base.T, search(base, asked, K))
        parts.append(make_cases(queries.patients, q, np.full(len(q), slot), values))
    return join(parts) if parts else no_cases("recall_10", "recall_10_by_id")


def recall(similarity: Array, found: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.float64]]:
    """Return both recalls (Q,) of rows `found` (Q, 10) among exact similarities (Q, M)."""
    exact = np.argpartition(-similarity, K - 1, axis=1)[:, :K]
    tenth = np.take_along_axis(similarity, exact, axis=1).min(axis=1, keepdims=True)
    there = found >= 0
    reached = (np.take_along_axis(similarity, np.maximum(found, 0), axis=1) >= tenth - NEAR) & there
    same = (found[:, :, None] == exact[:, None, :]).any(axis=2) & there
    return {"recall_10": reached.sum(axis=1) / K, "recall_10_by_id": same.sum(axis=1) / K}
