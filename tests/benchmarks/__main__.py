"""`make bench`: measure, print one table, write build/bench.json."""

from pathlib import Path

from tests.benchmarks import find_similar, index, page, search, send_to_query
from tests.benchmarks.report import Figure, show, write

figures: list[Figure] = []
for benchmark in (find_similar, search, index, send_to_query, page):
    figures.extend(benchmark.figures())
show(figures)
write(figures, Path("build") / "bench.json")
