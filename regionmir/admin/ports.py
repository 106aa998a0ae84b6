"""Whether the ports that we are to listen on are free."""

import socket

import psutil

from dicom_node import processes
from regionmir.core.errors import ConfigurationError
from regionmir.core.settings import Settings
from regionmir.monitoring.exporter import metrics_ports


def require_free_ports(settings: Settings) -> None:
    """Return if both ports can be listened on and no other is ours twice.

    Raises `ConfigurationError` that names the port and the setting.
    """
    if settings.dicom_port == settings.http_port:
        raise ConfigurationError("REGIONMIR_DICOM_PORT and REGIONMIR_HTTP_PORT are the same port: change one")
    metrics_ports(settings, processes.count(settings.dicom_processes))
    wanted = [("dicom", settings.dicom_port), ("http", settings.http_port), ("dicom_tls", settings.dicom_tls_port)]
    for kind, port in wanted:
        if not port or (kind == "dicom" and settings.dicom_tls_only):
            continue
        host = settings.http_host if kind == "http" else settings.dicom_host
        why = why_not_free(host, port)
        if why is not None:
            variable = f"REGIONMIR_{kind.upper()}"
            raise ConfigurationError(f"cannot listen on {host}:{port} ({why}): set {variable}_PORT or the host")


def why_not_free(host: str, port: int) -> str | None:
    """Return why nothing can listen there, None if something can."""
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except socket.gaierror:
        return "no such host"
    except OSError as error:
        return (error.strerror or str(error)) + _used_by(port)
    return None


def _used_by(port: int) -> str:
    """Return ` by NAME` where we may know who listens on `port`."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f" by {psutil.Process(connection.pid).name()}, process {connection.pid}"
    except (psutil.Error, OSError):
        pass
    return ""
