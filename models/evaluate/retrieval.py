"""How well similar regions are found: ranked hits of other patients, and whether they share anatomy or finding.

Shape letters: Q queries, M database entries, N films, A anatomies (all 29), D length of a vector.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.evaluate.analysed import Analysed, Bools
from models.evaluate.cases import Cases, Ints, Texts, join, make_cases, no_cases
from regionmir.core.anatomy import anatomies

Array = npt.NDArray[np.float32]
Measures = dict[str, npt.NDArray[np.float64]]
KS = (1, 5, 10)
MEASURES = ("p_at_1", "p_at_5", "p_at_10", "map_at_r", "ndcg_10", "prevalence", "lift")
_CELLS = 2**24
"""Largest matrix of similarities that is held at once."""

Features = Callable[[Analysed, int], Array]
"""Maps films and a slot to what is compared (N, D): larger dot products are more alike."""
Relabel = Callable[[Texts], Texts]
"""Maps findings to the labels that are compared; "" takes no part."""


def three_classes(findings: Texts) -> Texts:
    """Return the findings as they are."""
    return findings


def normal_or_pneumonia(findings: Texts) -> Texts:
    """Return `normal`, `pneumonia`, or "" for anything else."""
    pneumonia = np.char.find(findings, "pneumonia") >= 0
    return np.where(pneumonia, "pneumonia", np.where(findings == "normal", "normal", ""))


def abnormal_only(findings: Texts) -> Texts:
    """Return the findings without `normal`."""
    return np.where(findings == "normal", "", findings)


def embeddings(films: Analysed, slot: int) -> Array:
    """Return the model's vectors (N, D) of one anatomy."""
    return films.vectors[:, slot]


def box_only(films: Analysed, slot: int) -> Array:
    """Return features (N, D) that know the found box and the film's shape but no pixel, as a control.

    Their dot product falls with the squared distance.
    """
    aspect = np.array([[np.log(f.width / f.height)] for f in films.films], dtype=np.float32)
    x = np.nan_to_num(np.concatenate([films.boxes[:, slot], 0.2 * aspect], axis=1))
    squares = (x**2).sum(axis=1, keepdims=True)
    lifted: Array = np.concatenate([x, squares, np.ones_like(squares)], axis=1).astype(np.float32)
    return lifted


def box_only_queries(films: Analysed, slot: int) -> Array:
    """Return the query side of `box_only`: -|x - y|^2 / 2 up to what is constant for a query."""
    x = box_only(films, slot)
    turned: Array = np.concatenate([x[:, :-2], np.full((len(x), 1), -0.5), np.zeros((len(x), 1))], axis=1)
    return turned.astype(np.float32)


def forbidden(queries: Analysed, database: Analysed) -> Bools:
    """Return (Q, M): pairs of one patient, of one file or of equal pixels, which are never hits."""
    files = [np.array([str(f.path.absolute()) for f in side.films]) for side in (queries, database)]
    return (
        equal_pairs(queries.patients, database.patients)
        | equal_pairs(queries.pixel_sums, database.pixel_sums)
        | equal_pairs(files[0], files[1])
    )


def equal_pairs(a: Texts, b: Texts) -> Bools:
    """Return (Q, M): which of `a` (Q,) equal which of `b` (M,)."""
    numbers = np.unique(np.concatenate([a, b]), return_inverse=True)[1]
    pairs: Bools = numbers[: len(a), None] == numbers[None, len(a) :]
    return pairs


@dataclass(frozen=True, slots=True)
class Ranked:
    """Rankings of one anatomy's entries, best first; the barred ones stand last."""

    order: npt.NDArray[np.int64]
    """(Q, M): rows of the database side"""
    similarity: Array
    """(Q, M): in that order"""
    permitted: npt.NDArray[np.int64]
    """(Q,): number of hits that are not barred"""

    def relevant(self, labels: Texts, base_labels: Texts) -> Bools:
        """Return (Q, M): whether each hit has the query's label; False where it is barred."""
        same: Bools = labels[:, None] == base_labels[self.order]
        same &= np.arange(self.order.shape[1]) < self.permitted[:, None]
        return same


def rank(query: Array, base: Array, barred: Bools) -> Ranked:
    """Rank `base` (M, D) for each of `query` (Q, D); `barred` (Q, M) pairs are no hits."""
    similarity = np.where(barred, -np.inf, query @ base.T).astype(np.float32)
    order = np.argsort(-similarity, axis=1, kind="stable")
    return Ranked(order, np.take_along_axis(similarity, order, axis=1), (~barred).sum(axis=1))


def measures(relevant: Bools, permitted: npt.NDArray[np.int64]) -> Measures:
    """Return for each query (Q,) precision at k, MAP@R, nDCG@10, the share by chance, and the lift of P@5 over it.

    `relevant` (Q, M) tells of each hit, best first, whether it is relevant; the first `permitted` (Q,) count. A query
    without any relevant entry stays in, with 0.
    """
    depth = np.arange(1, relevant.shape[1] + 1)
    total = relevant.sum(axis=1)
    found = {f"p_at_{k}": relevant[:, :k].sum(axis=1) / np.clip(permitted, 1, k) for k in KS}
    most = max(1, int(total.max(initial=0)))
    top = relevant[:, :most]
    precision = np.cumsum(top, axis=1) / depth[:most]
    within = depth[None, :most] <= total[:, None]
    found["map_at_r"] = (precision * top * within).sum(axis=1) / np.maximum(total, 1)
    discount = 1 / np.log2(depth[:10] + 1)
    ideal = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(total, len(discount))]
    found["ndcg_10"] = (relevant[:, :10] * discount).sum(axis=1) / np.maximum(ideal, 1e-9)
    found["prevalence"] = total / np.maximum(permitted, 1)
    found["lift"] = found["p_at_5"] - found["prevalence"]
    return found


def finding_cases(
    database: Analysed,
    queries: Analysed,
    relabels: Mapping[str, Relabel],
    features: Features = embeddings,
    query_features: Features | None = None,
    slots: tuple[int, ...] | None = None,
) -> dict[str, Cases]:
    """Return under each name of `relabels` a case per labelled query region: do its hits share the label?

    Hits are regions of the same anatomy on labelled films of other patients. `slots` limits the anatomies.
    """
    found: dict[str, list[Cases]] = {name: [] for name in relabels}
    barred = forbidden(queries, database)
    for slot in slots if slots is not None else range(len(anatomies())):
        ask, base = (query_features or features)(queries, slot), features(database, slot)
        for q, m in _labelled(database, queries, slot):
            ranked = rank(ask[q], base[m], barred[np.ix_(q, m)])
            for name, relabel in relabels.items():
                found[name].append(_relabelled(ranked, queries, database, (q, m), slot, relabel))
    return {name: join(parts) if parts else no_cases(*MEASURES) for name, parts in found.items()}


def _labelled(database: Analysed, queries: Analysed, slot: int) -> Iterator[tuple[Ints, Ints]]:
    """Yield rows of queries, and of the database, that show the anatomy on films with a finding: a batch at a time."""
    ask = queries.findings != ""
    if not (queries.known[:, slot] & ask).any():  # a finding of the lungs says nothing of what was never boxed
        return
    q = np.flatnonzero(queries.found[:, slot] & ask)
    m = np.flatnonzero(database.found[:, slot] & (database.findings != ""))
    if len(m):
        step = max(1, _CELLS // len(m))
        for start in range(0, len(q), step):
            yield q[start : start + step], m


def _relabelled(
    ranked: Ranked, queries: Analysed, database: Analysed, rows: tuple[Ints, Ints], slot: int, relabel: Relabel
) -> Cases:
    """Return the cases of one ranking under other labels: what has none is taken out of both sides."""
    q, m = rows
    labels, base_labels = relabel(queries.findings)[q], relabel(database.findings)[m]
    permitted_hit = np.arange(ranked.order.shape[1]) < ranked.permitted[:, None]
    asked, kept = labels != "", base_labels != ""
    relevant = ranked.relevant(labels, base_labels)[asked]
    if not kept.all():
        chosen = kept[ranked.order[asked]]
        relevant = relevant[chosen].reshape(len(relevant), -1)
        permitted_hit = permitted_hit[asked][chosen].reshape(len(relevant), -1)
    else:
        permitted_hit = permitted_hit[asked]
    permitted = permitted_hit.sum(axis=1)
    some = permitted > 0
    if not some.any():
        return no_cases(*MEASURES)
    values = measures(relevant[some], permitted[some])
    rows_of = q[asked][some]
    return make_cases(queries.patients, rows_of, np.full(len(rows_of), slot), values, labels[asked][some])


def anatomy_cases(database: Analysed, queries: Analysed) -> Cases:
    """Return a case per query region: how many of the nearest regions of any anatomy are of its own anatomy."""
    rows, slots = np.nonzero(queries.found & queries.known)
    base_rows, base_slots = np.nonzero(database.found & database.known)
    if not len(rows) or not len(base_rows):
        return no_cases("p_at_1", "p_at_10", "map_at_r")
    base = database.vectors[base_rows, base_slots]
    barred, parts = forbidden(queries, database), []
    step = max(1, _CELLS // len(base))
    for start in range(0, len(rows), step):
        r, s = rows[start : start + step], slots[start : start + step]
        similarity = queries.vectors[r, s] @ base.T
        shut = barred[np.ix_(r, base_rows)]
        similarity[shut] = -np.inf
        same = (base_slots == s[:, None]) & ~shut
        values = _precision_to_r(similarity, same, (~shut).sum(axis=1))
        parts.append(make_cases(queries.patients, r, s, values))
    return join(parts)


def _precision_to_r(similarity: Array, same: Bools, permitted: npt.NDArray[np.int64]) -> Measures:
    """Return measures (Q,) from `similarity` (Q, M), sorting no more than the best R, R being what is relevant."""
    depth = min(similarity.shape[1], max(10, int(same.sum(axis=1).max(initial=0))))
    top = np.argpartition(-similarity, depth - 1, axis=1)[:, :depth]
    order = np.argsort(-np.take_along_axis(similarity, top, axis=1), axis=1, kind="stable")
    relevant = np.take_along_axis(same, np.take_along_axis(top, order, axis=1), axis=1)
    total = same.sum(axis=1)
    at = np.arange(1, depth + 1)
    hits = np.cumsum(relevant, axis=1) / at * relevant * (at <= total[:, None])
    found = {f"p_at_{k}": relevant[:, :k].sum(axis=1) / np.clip(permitted, 1, k) for k in (1, 10)}
    return found | {"map_at_r": hits.sum(axis=1) / np.maximum(total, 1)}


def participation_ratio(vectors: npt.NDArray[np.floating]) -> float:
    """Return over how many directions `vectors` (N, D) spread: (sum l)^2 / sum l^2 of the eigenvalues l.

    The first sum is the trace of their covariance, the second that of its square. 0 for equal vectors.
    """
    covariance = np.cov(vectors.astype(np.float64).T)
    return float(np.trace(covariance) ** 2 / max((covariance**2).sum(), 1e-30))
