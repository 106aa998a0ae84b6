"""A similarity C-FIND among a million regions: 20 of each of 50,000 instances, by HNSW, over the node.

`python -m tests.benchmarks.find_million 500000` does the same with ten million: about 12 GB of memory while it fills.
"""

import sys
from collections.abc import Iterator

from tests.benchmarks import find_similar
from tests.benchmarks.report import Figure, show

INSTANCES = 50_000


def figures() -> Iterator[Figure]:
    """Give p50 and p95, identified and pseudonymous."""
    return find_similar.by_index(INSTANCES, "1m")


if __name__ == "__main__":
    count = int(sys.argv[1])
    show(list(find_similar.by_index(count, f"{count * 20 // 1_000_000}m")))
