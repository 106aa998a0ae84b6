"""`make bench-large`: the search among ten million regions, and how it grows from a million on. Takes hours."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from db.embeddings import BUILT_AT_ONCE
from tests.benchmarks import search
from tests.benchmarks.report import Figure, show, write
from tests.benchmarks.search import Measured, Size
from tests.benchmarks.spectra import spectra
from tests.support.postgres import TestDatabases, throw_away_server

ROWS = (50_000, 150_000, 500_000)
"""In each of the 20 leaves."""
BUILD_S, DISK_BYTES = 45 * 60, 16e9
QUERIES = 10


def run(rows: Sequence[int], folder: Path) -> list[Figure]:
    """Measure each size, write `search-growth.png` to `folder` and return the figures."""
    found: list[Figure] = []
    grown: list[tuple[int, Size, Measured]] = []
    anatomies = tuple(spectra())
    for count in rows:
        total = count * len(anatomies)
        with tempfile.TemporaryDirectory() as data, throw_away_server(Path(data)) as server:
            size, measured = search.measure(TestDatabases(server.url).migrated(), anatomies, count, QUERIES)
        name = search.size_name(total)
        found += search.as_figures(name, total, size, measured)
        grown.append((total, size, measured[""]))
        if count == rows[-1]:
            disk = float(size.index_bytes + size.heap_bytes)
            memory = f"{BUILT_AT_ONCE} leaves at a time, maintenance_work_mem {size.build_memory} each"
            why = f"a leaf of {count:,} rows takes {size.build_s / len(anatomies):.0f} s of it"
            found.append(Figure(f"build_s_{name}", f"all indexes, {memory}, s", size.build_s, BUILD_S, False, why=why))
            why = f"{size.index_bytes / total:.0f} bytes of index and {size.heap_bytes / total:.0f} of rows a region"
            found.append(Figure(f"disk_bytes_{name}", "tables and indexes, bytes", disk, DISK_BYTES, False, why=why))
            found += search.library_figures(name, total, size, measured[""], count)
    folder.mkdir(parents=True, exist_ok=True)
    _draw(grown, folder / "search-growth.png")
    return found


def _draw(grown: Sequence[tuple[int, Size, Measured]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    regions = [total / 1e6 for total, _, _ in grown]
    lines = {
        "p95, ms": [found.p95 for _, _, found in grown],
        "index build, min": [size.build_s / 60 for _, size, _ in grown],
        "disk, GB": [(size.index_bytes + size.heap_bytes) / 1e9 for _, size, _ in grown],
    }
    figure, axes = pyplot.subplots(1, len(lines), figsize=(11, 3), layout="constrained")
    for place, (name, values) in zip(axes, lines.items(), strict=True):
        place.plot(regions, values, marker="o")
        place.set_xlabel("million regions")
        place.set_title(name)
        place.set_ylim(bottom=0)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


if __name__ == "__main__":
    measured = run(ROWS, Path("build"))
    show(measured)
    write(measured, Path("build") / "bench-large.json")
