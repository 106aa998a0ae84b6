"""Who can reach the web process, and what must be set before others may."""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from regionmir.core.errors import ConfigurationError
from regionmir.core.settings import Settings

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Faults:
    """Why the web process does not start as it is set; each text names the settings and what to do."""

    exposed: tuple[str, ...]
    """Others could reach it and something is missing; the settings can say that this is meant so."""
    wrong: tuple[str, ...]


def is_loopback(host: str) -> bool:
    """True for `localhost` and the addresses 127.0.0.0/8 and ::1."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def require_safe(settings: Settings) -> None:
    """Raise `ConfigurationError` if others could reach us without sign-in or TLS, or what is set cannot work."""
    found = faults(settings)
    for fault in (*found.exposed, *found.wrong):
        raise ConfigurationError(fault)


def faults(settings: Settings) -> Faults:
    """Return what keeps the web process from starting."""
    return Faults(tuple(_exposed(settings)), tuple(_wrong(settings)))


def has_tls(settings: Settings) -> bool:
    """True if we speak TLS ourselves."""
    return settings.http_tls_certificate is not None


def is_secure(settings: Settings) -> bool:
    """True if browsers reach us by https: our own TLS, or that of a proxy in front."""
    return has_tls(settings) or urlsplit(settings.http_external_url).scheme == "https"


def external_name(settings: Settings) -> str:
    """Return the host name in `http_external_url`, empty if it is not set."""
    return (urlsplit(settings.http_external_url).hostname or "").lower()


def proxies(settings: Settings) -> tuple[Network, ...]:
    """Return the networks of the reverse proxies in front. Raises `ConfigurationError`."""
    try:
        return tuple(ip_network(part, strict=False) for part in listed(settings.http_proxies))
    except ValueError:
        raise ConfigurationError(
            f"http_proxies must be addresses or networks such as 10.0.0.0/24, not {settings.http_proxies[:60]!r}"
        ) from None


def listed(text: str) -> tuple[str, ...]:
    """Return the parts of a setting that are separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _exposed(settings: Settings) -> Iterator[str]:
    if is_loopback(settings.http_host):
        return
    reached = f"http_host {settings.http_host} can be reached by others"
    if settings.signin == "none" and not settings.http_without_signin:
        yield (
            f"{reached} and nobody signs in: set REGIONMIR_SIGNIN to local, oidc or proxy, keep 127.0.0.1, or set "
            "REGIONMIR_HTTP_WITHOUT_SIGNIN=true if everybody there may see pseudonymous studies"
        )
    if not has_tls(settings) and not settings.http_without_tls:
        yield (
            f"{reached} without TLS: set REGIONMIR_HTTP_TLS_CERTIFICATE and REGIONMIR_HTTP_TLS_KEY, keep 127.0.0.1, "
            "or set REGIONMIR_HTTP_WITHOUT_TLS=true if a proxy in front speaks TLS"
        )


def _wrong(settings: Settings) -> Iterator[str]:
    yield from _wrong_tls(settings)
    yield from _wrong_url(settings)
    try:
        trusted = proxies(settings)
    except ConfigurationError as error:
        yield str(error)
        return
    if settings.signin == "proxy" and not trusted:
        yield "signin = proxy needs REGIONMIR_HTTP_PROXIES, the addresses whose word we take"
    if settings.signin == "oidc":
        yield from _wrong_oidc(settings)


def _wrong_tls(settings: Settings) -> Iterator[str]:
    certificate, key = settings.http_tls_certificate, settings.http_tls_key
    if (certificate is None) != (key is None):
        yield "http_tls_certificate and http_tls_key go together"
    elif certificate is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: "")
        except (OSError, ValueError) as error:
            said = getattr(error, "strerror", None) or type(error).__name__
            yield f"http_tls_certificate {certificate} with http_tls_key {key} cannot be used: {said}"


def _wrong_url(settings: Settings) -> Iterator[str]:
    if not settings.http_external_url:
        return
    try:
        parts = urlsplit(settings.http_external_url)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    plain = not (parts.username or parts.query or parts.fragment or parts.path.strip("/"))
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
        yield "http_external_url must look like https://regionmir.example, with nothing after the name and port"


def _wrong_oidc(settings: Settings) -> Iterator[str]:
    for name in ("oidc_issuer", "oidc_client_id", "http_external_url"):
        if not getattr(settings, name):
            yield f"signin = oidc needs REGIONMIR_{name.upper()}"
    issuer = urlsplit(settings.oidc_issuer)
    if settings.oidc_issuer and issuer.scheme != "https" and not is_loopback(issuer.hostname or ""):
        yield "oidc_issuer must be https: who can change its answers can sign in as anybody"
    secret = settings.oidc_client_secret_file
    if secret is not None and not secret.is_file():
        yield f"oidc_client_secret_file {secret} is no file"
