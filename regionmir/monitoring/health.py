"""`python -m regionmir.monitoring.health PORT ...`: exit code 0 if each port of this container takes connections.

For health checks of containers: it needs nothing but Python, and makes no association that would be logged. Whether the
process can do its work (database, model) is told by its figures and, for the web, by `/readyz`.
"""

import socket
import sys

TIMEOUT_S = 3.0


def main(ports: list[str]) -> int:
    """Return 0 where all ports answer, else 1."""
    try:
        for port in ports:
            socket.create_connection(("127.0.0.1", int(port)), TIMEOUT_S).close()
    except OSError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
