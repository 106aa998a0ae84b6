"""`make bench`: measure, print one table, write build/bench.json.

`python -m tests.benchmarks NAME...` measures only those, into build/bench-NAME.json.
"""

import sys
from pathlib import Path

from tests.benchmarks import (
    find_million,
    find_similar,
    index,
    ingest,
    page,
    search,
    send_to_query,
    shards,
    two_workers,
)
from tests.benchmarks.report import Figure, show, write

_ALL = (find_similar, search, find_million, index, two_workers, shards, ingest, send_to_query, page)
BENCHMARKS = {one.__name__.rpartition(".")[2]: one for one in _ALL}

names = sys.argv[1:]
if unknown := set(names) - set(BENCHMARKS):
    sys.exit(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
figures: list[Figure] = []
for name in names or BENCHMARKS:
    figures.extend(BENCHMARKS[name].figures())
show(figures)
write(figures, Path("build") / f"{'-'.join(['bench', *names])}.json")
