"""The pictures of a report: plots of figures and galleries of films, drawn with matplotlib."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Rectangle

from models.data.films import Film
from models.data.tensors import read_pixels
from models.evaluate.altered import cells
from models.evaluate.analysed import LUNGS, Analysed, Floats
from models.evaluate.calibration import reliability
from models.evaluate.detection import overlaps
from models.evaluate.figures import Figure
from models.evaluate.judging import Judged
from models.evaluate.retrieval import (
    Features,
    Relabel,
    box_only,
    box_only_queries,
    embeddings,
    forbidden,
    normal_or_pneumonia,
    rank,
    three_classes,
)
from regionmir.core.anatomy import anatomies, anatomy_by_key

HITS = 5
WORST = 24
_GRID = np.linspace(0, 1, 41)
Drawer = Callable[[Judged], tuple[Canvas, str] | None]


def draw_pictures(judged: Judged, folder: Path) -> dict[str, str]:
    """Write the pictures into `folder`; return the caption of each file. What has no data is left out."""
    drawers: dict[str, Drawer] = {
        "iou": iou_bars,
        "failures-boxes": worst_boxes,
        "confusion": confusion,
        "precision-recall": precision_recall,
        "hits": example_hits,
        "failures-hits": worst_hits,
        "calibration": calibration,
        "pca-anatomies": pca_of_anatomies,
        "pca-findings": pca_of_findings,
    }
    captions = {}
    for name, draw in drawers.items():
        drawn = draw(judged)
        if drawn:
            canvas, captions[f"{name}.png"] = drawn
            canvas.savefig(folder / f"{name}.png", dpi=110, bbox_inches="tight")
    return captions


def iou_bars(judged: Judged) -> tuple[Canvas, str] | None:
    """Draw the mean IoU of each anatomy with its interval, and the mean box's."""
    each = judged.detection.per_anatomy()
    if not each:
        return None
    canvas, axes = _axes(7, 0.28 * len(each) + 1)
    values: list[Figure] = [f for of in each.values() if (f := of["mean_iou"]) is not None]
    prior = [f.value for of in each.values() if (f := of["static_prior_mean_iou"]) is not None]
    at = np.arange(len(values))[::-1]
    spread = np.array([[f.value - f.low for f in values], [f.high - f.value for f in values]]).clip(0)
    axes.barh(at, [f.value for f in values], xerr=spread, color="tab:blue", height=0.65, label="model")
    axes.plot(prior, at, "k|", markersize=10, label="mean box, no pixels")
    axes.set(yticks=at, yticklabels=list(each), xlim=(0, 1), xlabel="mean IoU")
    axes.legend(loc="lower left", fontsize=8)
    return canvas, "Mean overlap (IoU) of found and true boxes, with 95 % intervals; the mark is a mean box's."


def confusion(judged: Judged) -> tuple[Canvas, str] | None:
    """Draw which anatomy is named at the true boxes of each."""
    rows, slots = np.nonzero(judged.named >= 0)
    if not len(rows):
        return None
    shown = np.unique(np.concatenate([slots, judged.named[rows, slots]]))
    counts = np.zeros((len(shown), len(shown)))
    np.add.at(counts, (np.searchsorted(shown, slots), np.searchsorted(shown, judged.named[rows, slots])), 1)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [anatomy_by_key(int(s) + 1).short for s in shown]
    canvas, axes = _axes(8, 7)
    picture = axes.imshow(share, vmin=0, vmax=1, cmap="Blues")
    for y, x in zip(*np.nonzero((share >= 0.005) & ~np.eye(len(shown), dtype=bool)), strict=True):
        axes.text(x, y, f"{100 * share[y, x]:.0f}", ha="center", va="center", fontsize=6, color="tab:red")
    axes.set(xticks=range(len(shown)), yticks=range(len(shown)), xlabel="named", ylabel="true box of")
    axes.set_xticklabels(names, rotation=90, fontsize=7)
    axes.set_yticklabels(names, fontsize=7)
    canvas.colorbar(picture, ax=axes, shrink=0.7)
    return canvas, "Anatomy named at true boxes, as share of each row; confusions in per cent."


def precision_recall(judged: Judged) -> tuple[Canvas, str] | None:
    """Draw mean precision over recall for both lungs, beside the controls that need no further pass."""
    sources: dict[str, tuple[Features, Features]] = {
        "vectors": (embeddings, embeddings),
        "32 x 32 film": (lambda f, _: f.thumbnails,) * 2,
        "32 x 32 film, lungs blanked": (lambda f, _: f.blanked_thumbnails,) * 2,
        "boxes alone": (box_only, box_only_queries),
    }
    canvas = Canvas(figsize=(10, 4.2))
    drawn = False
    for column, (title, relabel) in enumerate(
        (("three classes", three_classes), ("normal or pneumonia", normal_or_pneumonia))
    ):
        axes = canvas.add_subplot(1, 2, column + 1)
        for name, (base, ask) in sources.items():
            line = _precision_line(judged, relabel, base, ask)
            if line is not None:
                drawn = True
                axes.plot(_GRID, line, label=name)
        axes.set(title=f"lungs, {title}", xlabel="recall", ylabel="precision", ylim=(0, 1))
    if not drawn:
        return None
    canvas.axes[0].legend(fontsize=8)
    return (
        canvas,
        "Precision over recall of hits with the query's finding, mean over query lungs.",
    )


def _precision_line(
    judged: Judged, relabel: Relabel, features: Features, query_features: Features
) -> npt.NDArray[np.float64] | None:
    """Return mean interpolated precision at each recall of the grid, over the queries' lungs."""
    base, asked = judged.database, judged.queries
    barred, lines = forbidden(asked, base), []
    for slot in LUNGS:
        q = np.flatnonzero(asked.found[:, slot] & (relabel(asked.findings) != ""))
        m = np.flatnonzero(base.found[:, slot] & (relabel(base.findings) != ""))
        if not len(q) or not len(m):
            continue
        ranked = rank(query_features(asked, slot)[q], features(base, slot)[m], barred[np.ix_(q, m)])
        for row in ranked.relevant(relabel(asked.findings)[q], relabel(base.findings)[m]):
            at = np.flatnonzero(row)
            if len(at):
                precision = np.maximum.accumulate((np.arange(1, len(at) + 1) / (at + 1))[::-1])[::-1]
                lines.append(precision[np.ceil(_GRID * len(at)).astype(int).clip(1) - 1])
    return np.mean(lines, axis=0) if lines else None


def calibration(judged: Judged) -> tuple[Canvas, str] | None:
    """Draw the share of same-finding hits over their similarity."""
    rows = reliability(judged.hits)
    if not rows:
        return None
    canvas, axes = _axes(5, 3.5)
    at = [row["similarity"].value for row in rows]
    share: list[Figure] = [row["same_finding"] for row in rows]
    spread = np.array([[f.value - f.low for f in share], [f.high - f.value for f in share]]).clip(0)
    axes.errorbar(at, [f.value for f in share], yerr=spread, fmt="o-", capsize=2)
    axes.set(xlabel="similarity of a hit", ylabel="share with the query's finding", ylim=(0, 1))
    return canvas, "Hits of each query (ten best) in tenths by similarity: how many share the query's finding."


def pca_of_anatomies(judged: Judged) -> tuple[Canvas, str] | None:
    """Draw the first two principal components of all query regions."""
    rows, slots = np.nonzero(judged.queries.found & judged.queries.known)
    names = np.array([a.name for a in anatomies()])[slots]
    drawn = _pca(judged.queries.vectors[rows, slots], names)
    if drawn is None:
        return None
    return drawn[0], f"All query regions, first two principal components ({drawn[1]:.0%} of the variance)."


def pca_of_findings(judged: Judged) -> tuple[Canvas, str] | None:
    """Draw the first two principal components of the queries' right lungs."""
    queries, slot = judged.queries, LUNGS[0]
    rows = np.flatnonzero(queries.found[:, slot] & (queries.findings != ""))
    drawn = _pca(queries.vectors[rows, slot], queries.findings[rows])
    if drawn is None:
        return None
    return drawn[0], f"Right lungs by finding, first two principal components ({drawn[1]:.0%} of the variance)."


def _pca(vectors: Floats, labels: npt.NDArray[np.str_]) -> tuple[Canvas, float] | None:
    """Return a scatter plot of `vectors` (N, D), and the share of their variance that it shows."""
    if len(vectors) < 3:
        return None
    centred = vectors.astype(np.float64) - vectors.mean(axis=0)
    values, axes_of = np.linalg.eigh(np.cov(centred.T))
    at = centred @ axes_of[:, [-1, -2]]
    canvas, axes = _axes(7, 5)
    for n, label in enumerate(np.unique(labels)):
        some = labels == label
        axes.plot(*at[some].T, ".x+"[n // 10 % 3], color=f"C{n % 10}", markersize=4, alpha=0.6, label=str(label))
    axes.legend(fontsize=6, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.set(xlabel="first component", ylabel="second component")
    return canvas, float(values[-2:].sum() / max(values.sum(), 1e-12))


def example_hits(judged: Judged) -> tuple[Canvas, str] | None:
    """Draw one query of each anatomy and its nearest regions of other patients."""
    queries, chosen = judged.queries, []
    for slot in range(queries.found.shape[1]):
        rows = np.flatnonzero(queries.found[:, slot] & queries.accepted)
        if len(rows) and judged.database.found[:, slot].any():
            labelled = rows[queries.findings[rows] != ""]
            pick = labelled if len(labelled) else rows
            chosen.append((int(pick[(7 * slot) % len(pick)]), slot))
    drawn = _hit_gallery(judged, chosen)
    return (drawn, "A query of each anatomy (left) and its nearest regions of other patients.") if drawn else None


def worst_hits(judged: Judged) -> tuple[Canvas, str] | None:
    """Draw the query lungs none of whose five hits shares the finding."""
    lungs = judged.findings["three"].of_slots(LUNGS)
    if not len(lungs):
        return None
    wrong = lungs.take(lungs.values["p_at_5"] == 0)
    pairs = list(zip(wrong.rows.tolist(), wrong.slots.tolist(), strict=True))
    drawn = _hit_gallery(judged, pairs[:: max(1, len(pairs) // 8)][:8])
    caption = f"{len(wrong)} of {len(lungs)} query lungs have no hit of their finding among five; some of them."
    return (drawn, caption) if drawn else None


def _hit_gallery(judged: Judged, asked: Sequence[tuple[int, int]]) -> Canvas | None:
    if not asked:
        return None
    queries, base = judged.queries, judged.database
    barred = forbidden(queries, base)
    canvas = Canvas(figsize=(1.5 * (HITS + 1), 1.75 * len(asked)))
    for line, (row, slot) in enumerate(asked):
        m = np.flatnonzero(base.found[:, slot])
        ranked = rank(queries.vectors[row : row + 1, slot], base.vectors[m, slot], barred[row : row + 1, m])
        axes = canvas.add_subplot(len(asked), HITS + 1, line * (HITS + 1) + 1)
        _show(axes, queries, row, slot, f"{anatomies()[slot].short}, film {row}\n{queries.findings[row]}")
        for n in range(min(HITS, int(ranked.permitted[0]))):
            hit = int(m[ranked.order[0, n]])
            axes = canvas.add_subplot(len(asked), HITS + 1, line * (HITS + 1) + n + 2)
            _show(axes, base, hit, slot, f"{ranked.similarity[0, n]:.3f}\n{base.findings[hit]}")
    canvas.tight_layout(pad=0.3)
    return canvas


def _show(axes: Axes, films: Analysed, row: int, slot: int, title: str) -> None:
    """Show the found region with a fifth of its size around it."""
    film = films.films[row]
    box = films.boxes[row, slot] * _size(film)
    margin = np.tile(box[2:] - box[:2], 2) * np.array([-0.2, -0.2, 0.2, 0.2], dtype=np.float32)
    axes.imshow(read_pixels(film)[cells(box + margin, film.width, film.height)], cmap="gray", vmin=0, vmax=1)
    axes.set_title(title, fontsize=6)
    axes.axis("off")


def worst_boxes(judged: Judged) -> tuple[Canvas, str] | None:
    """Draw the found boxes that overlap least with the true ones, at most two of a film."""
    queries = judged.queries
    iou = np.where(queries.known, overlaps(queries.true_boxes, queries.boxes), np.inf)
    order = np.argsort(iou, axis=None, kind="stable")
    chosen: list[tuple[int, int]] = []
    for row, slot in zip(*np.unravel_index(order, iou.shape), strict=True):
        if len(chosen) < WORST and np.isfinite(iou[row, slot]) and sum(r == row for r, _ in chosen) < 2:
            chosen.append((int(row), int(slot)))
    if not chosen:
        return None
    canvas = Canvas(figsize=(12, 2.2 * -(-len(chosen) // 6)))
    for n, (row, slot) in enumerate(chosen):
        axes = canvas.add_subplot(-(-len(chosen) // 6), 6, n + 1)
        film = queries.films[row]
        axes.imshow(read_pixels(film), cmap="gray", vmin=0, vmax=1)
        for boxes, colour in ((queries.true_boxes, "lime"), (queries.boxes, "red")):
            _outline(axes, boxes[row, slot] * _size(film), colour)
        axes.set_title(f"{anatomies()[slot].short}, film {row}: {iou[row, slot]:.2f}", fontsize=7)
        axes.axis("off")
    canvas.tight_layout(pad=0.4)
    return canvas, "The boxes with the least overlap: true ones green, found ones red (none where not found)."


def _outline(axes: Axes, box: Floats, colour: str) -> None:
    if not np.isnan(box).any():
        x0, y0, x1, y1 = (float(v) for v in box)
        axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=1))


def _size(film: Film) -> Floats:
    return np.array([film.width, film.height] * 2, dtype=np.float32)


def _axes(width: float, height: float) -> tuple[Canvas, Axes]:
    canvas = Canvas(figsize=(width, height))
    axes: Any = canvas.add_subplot()
    return canvas, axes
