"""The web process's application on a real socket, in a thread of the test."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from regionmir.core.settings import Settings
from regionmir.web.app import make_app, make_site


@contextmanager
def live_web(*, scheme: str = "http", **settings: Any) -> Iterator[str]:
    """Yield the address of the application under these settings; `http_external_url` is that address."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # else asyncio leaves Nagle on
    listening.bind(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    url = f"{scheme}://localhost:{port}"
    in_force = Settings(http_port=port, http_external_url=url, **settings)
    site = make_site(in_force)
    config = uvicorn.Config(
        make_app(site),
        log_config=None,
        access_log=False,
        proxy_headers=False,
        ssl_certfile=in_force.http_tls_certificate,
        ssl_keyfile=in_force.http_tls_key,
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while not server.started and thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert server.started
        yield url
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()
        site.close()
