"""`python -m regionmir.web`: serves the pages until SIGTERM."""

import signal
import socket
import sys
from contextlib import suppress

import uvicorn

from db.durability import require_durable
from regionmir.archive.removing import copy_dropper
from regionmir.core.errors import DatabaseUnavailable, RegionMirError
from regionmir.core.logging import configure_logging
from regionmir.core.readiness import tell_ready
from regionmir.core.settings import load_settings
from regionmir.monitoring.tracing import start_tracing
from regionmir.sandbox import limit_decoding
from regionmir.web.app import make_app, make_site

_PATIENCE_S = 5


class _Server(uvicorn.Server):
    """Tells whoever started us when it listens."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            tell_ready()

    def stop(self, *_: object) -> None:
        """Stop, or do not begin to serve."""
        self.should_exit = True


def main() -> int:
    """Serve until SIGTERM or SIGINT and return 0; 2 with one line on stderr if it cannot start."""
    try:
        settings = load_settings()
        configure_logging(settings, "web")
        limit_decoding(settings)
        site = make_site(settings)
        with suppress(DatabaseUnavailable):  # it may come later
            require_durable(site.database)
        stop_tracing = start_tracing(settings, "web")
    except RegionMirError as error:
        print(f"regionmir web: {error}", file=sys.stderr)
        return 2
    config = uvicorn.Config(
        make_app(site),
        host=settings.http_host,
        port=settings.http_port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ssl_certfile=settings.http_tls_certificate,
        ssl_keyfile=settings.http_tls_key,
        timeout_graceful_shutdown=_PATIENCE_S,
    )
    server = _Server(config)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.stop)  # before uvicorn listens to signals; afterwards it raises them again
    copies = copy_dropper(site.database, site.archive.store)
    copies.start()
    server.run()
    copies.stop()
    site.close()
    stop_tracing()
    return 0 if server.started else 2


if __name__ == "__main__":
    sys.exit(main())
