"""The web process's application on a port, for a browser, with a worker beside it that answers on demand."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from regionmir.web.app import make_app
from regionmir.web.site import Site
from tests.support.peers import free_port
from workers.indexer import Indexer


@contextmanager
def serving(site: Site) -> Iterator[str]:
    """Yield the address of the pages of this site, served by a thread until the block ends."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(make_app(site), port=port, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, name="pages")
    thread.start()
    try:
        while not server.started and thread.is_alive():
            thread.join(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)


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
