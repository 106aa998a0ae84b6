"""How well similar regions are found: ranked hits of other patients, and whether they share anatomy or finding.

Shape letters: Q queries, M database entries, N films, A anatomies (all 29), D length of a vector.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.evaluate.analysed import Analysed, Bools
from models.evaluate.figures import Figure, mean_figure
from regionmir.core.anatomy import anatomies

Array = npt.NDArray[np.float32]
KS = (1, 5, 10)
_CHUNK = 256

Features = Callable[[Analysed, int], Array]
"""Maps films and a slot to what is compared (N, D): larger dot products are more alike."""


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
    """Return (Q, M): pairs of one patient, or of equal pixels, which are never hits."""
    same: Bools = queries.patients[:, None] == database.patients[None]
    equal: Bools = queries.pixel_sums[:, None] == database.pixel_sums[None]
    return same | equal


@dataclass(frozen=True, slots=True)
class Ranked:
    """Full rankings of one anatomy: for each query, whether each hit shares its label, best hit first."""

    relevant: Bools
    """(Q, M): False behind the last permitted hit"""
    permitted: npt.NDArray[np.int64]
    """(Q,): number of permitted hits"""
    patients: npt.NDArray[np.str_]
    labels: npt.NDArray[np.str_]

    def measures(self) -> dict[str, npt.NDArray[np.float64]]:
        """Return for each query precision at k, MAP@R, nDCG@10 and the share expected by chance."""
        depth = np.arange(1, self.relevant.shape[1] + 1)
        total = self.relevant.sum(axis=1)
        found = {f"p_at_{k}": self.relevant[:, :k].sum(axis=1) / np.minimum(k, self.permitted) for k in KS}
        precision = np.cumsum(self.relevant, axis=1) / depth
        within = depth[None] <= total[:, None]
        found["map_at_r"] = (precision * self.relevant * within).sum(axis=1) / np.maximum(total, 1)
        discount = 1 / np.log2(depth[:10] + 1)
        ideal = np.array([discount[: min(10, n)].sum() for n in total])
        found["ndcg_10"] = (self.relevant[:, :10] * discount[: self.relevant.shape[1]]).sum(axis=1) / np.maximum(
            ideal, 1e-9
        )
        found["prevalence"] = total / np.maximum(self.permitted, 1)
        return found


def rank(
    query: Array,
    base: Array,
    labels: npt.NDArray[np.str_],
    base_labels: npt.NDArray[np.str_],
    barred: Bools,
    patients: npt.NDArray[np.str_],
) -> Ranked:
    """Rank `base` (M, D) for each of `query` (Q, D); `barred` (Q, M) pairs are left out."""
    similarity = np.where(barred, -np.inf, query @ base.T)
    order = np.argsort(-similarity, axis=1, kind="stable")
    relevant = (labels[:, None] == base_labels[None]) & ~barred
    return Ranked(np.take_along_axis(relevant, order, axis=1), (~barred).sum(axis=1), patients, labels)


def finding_figures(
    database: Analysed,
    queries: Analysed,
    relabel: Callable[[npt.NDArray[np.str_]], npt.NDArray[np.str_]],
    features: Features = embeddings,
    query_features: Features | None = None,
) -> dict[str, object]:
    """Return figures of hits inside one anatomy that share the finding: overall, by anatomy and by finding.

    `relabel` maps findings to the labels to compare ("" takes no part): films without a label are left out.
    """
    barred = forbidden(queries, database)
    per_anatomy: dict[str, dict[str, npt.NDArray[np.float64]]] = {}
    ranked: list[Ranked] = []
    for name, q, m, slot in _labelled(database, queries, relabel):
        ask, base = (query_features or features)(queries, slot)[q], features(database, slot)[m]
        labels, base_labels = relabel(queries.findings)[q], relabel(database.findings)[m]
        one = rank(ask, base, labels, base_labels, barred[np.ix_(q, m)], queries.patients[q])
        one = _with_hits(one)
        ranked.append(one)
        per_anatomy[name] = one.measures()
    if not ranked:
        return {}
    patients = [one.patients for one in ranked]
    names = list(per_anatomy)
    joined = {k: np.concatenate([per_anatomy[n][k] for n in names]) for k in per_anatomy[names[0]]}
    everyone, labels = np.concatenate(patients), np.concatenate([one.labels for one in ranked])
    return _summary(joined, everyone) | {
        "per_anatomy": {n: _summary(per_anatomy[n], p) for n, p in zip(names, patients, strict=True)},
        "per_finding": {
            str(label): _summary({k: v[labels == label] for k, v in joined.items()}, everyone[labels == label])
            for label in np.unique(labels)
        },
    }


def _with_hits(one: Ranked) -> Ranked:
    some = one.permitted > 0
    return Ranked(one.relevant[some], one.permitted[some], one.patients[some], one.labels[some])


def _labelled(
    database: Analysed, queries: Analysed, relabel: Callable[[npt.NDArray[np.str_]], npt.NDArray[np.str_]]
) -> Iterator[tuple[str, npt.NDArray[np.int64], npt.NDArray[np.int64], int]]:
    """Yield each anatomy that labelled films of both sides show: name, rows of queries and database, slot."""
    ask, base = relabel(queries.findings) != "", relabel(database.findings) != ""
    for anatomy in anatomies():
        slot = anatomy.key - 1
        if not (queries.known[:, slot] & ask).any():  # a finding of the lungs says nothing of what was never boxed
            continue
        q, m = np.flatnonzero(queries.found[:, slot] & ask), np.flatnonzero(database.found[:, slot] & base)
        if len(q) and len(m):
            yield anatomy.name, q, m, slot


def _summary(measures: dict[str, npt.NDArray[np.float64]], patients: npt.NDArray[np.str_]) -> dict[str, object]:
    figures: dict[str, object] = {name: mean_figure(values, patients) for name, values in measures.items()}
    figures["lift"] = mean_figure(measures["p_at_5"] - measures["prevalence"], patients)
    return figures


def anatomy_figures(database: Analysed, queries: Analysed) -> dict[str, Figure | None]:
    """Return how often the nearest regions of any anatomy (of other patients) are of the query's anatomy."""
    rows, slots = np.nonzero(queries.found & queries.known)
    base_rows, base_slots = np.nonzero(database.found & database.known)
    if not len(rows) or len(base_rows) <= max(KS):
        return {}
    base = database.vectors[base_rows, base_slots]
    barred = forbidden(queries, database)
    hits = []
    for start in range(0, len(rows), _CHUNK):
        r, s = rows[start : start + _CHUNK], slots[start : start + _CHUNK]
        similarity = queries.vectors[r, s] @ base.T
        similarity[barred[np.ix_(r, base_rows)]] = -np.inf
        top = np.argpartition(-similarity, 10, axis=1)[:, :10]
        order = np.argsort(-np.take_along_axis(similarity, top, axis=1), axis=1)
        top = np.take_along_axis(top, order, axis=1)
        hits.append(base_slots[top] == s[:, None])
    same = np.concatenate(hits)
    patients = queries.patients[rows]
    return {f"p_at_{k}": mean_figure(same[:, :k].mean(axis=1), patients) for k in (1, 10)}


def participation_ratios(films: Analysed) -> dict[str, float]:
    """Return for each anatomy the number of directions over which its vectors spread: (sum l)^2 / sum l^2."""
    found = {}
    for anatomy in anatomies():
        vectors = films.vectors[films.found[:, anatomy.key - 1], anatomy.key - 1].astype(np.float64)
        if len(vectors) > 2:
            values = np.linalg.eigvalsh(np.cov(vectors.T))
            found[anatomy.name] = round(float(values.sum() ** 2 / (values**2).sum()), 2)
    return found
