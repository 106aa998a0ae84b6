"""Telling whoever started this process that it is ready (the protocol of sd_notify(3))."""

import os
import socket

NOTIFY_VARIABLE = "NOTIFY_SOCKET"


def tell_ready() -> None:
    """Say once that this process does its work now. Does nothing where nobody asked to be told."""
    address = os.environ.get(NOTIFY_VARIABLE)
    if not address:
        return
    path = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to_parent:
        try:
            to_parent.sendto(b"READY=1", path)
        except OSError:  # it has gone: it will see for itself that we run, or end us
            return
