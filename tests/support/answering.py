"""An index worker beside the pages, that answers on demand."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from workers.indexer import Indexer


@contextmanager
def working(indexer: Indexer) -> Iterator[None]:
    """Let a thread embed drawn boxes and make similarity maps while the block runs."""
    stopping = threading.Event()

    def work() -> None:
        while not stopping.wait(0.05):
            indexer.embed_boxes()
            indexer.explain_pairs()

    thread = threading.Thread(target=work, name="worker")
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(30)
