"""TLS for DICOM and for the audit trail: BCP 195 (RFC 8996, RFC 9325) as PS3.15 B.12 asks for it."""

import hashlib
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from regionmir.core.errors import ConfigurationError, InvalidIdentifier

TLS_1_2_SUITES: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
)
"""Cipher suites for TLS 1.2 (RFC 9325 4.2, PS3.15 B.12); those of TLS 1.3 are all good and are OpenSSL's."""

FINGERPRINT_PREFIX: Final = "sha256:"

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")

_SHORT: Final = {
    "commonName": "CN",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "stateOrProvinceName": "ST",
    "localityName": "L",
    "domainComponent": "DC",
    "userId": "UID",
}
"""Names of attribute types in a distinguished name (RFC 4514 3); OpenSSL gives the long ones."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: our certificate with its chain, its key, and the authorities whose certificates we believe."""

    certificate: Path | None = None
    key: Path | None = None
    authorities: Path | None = None


NO_TLS_FILES: Final = TlsFiles()


@dataclass(frozen=True, slots=True)
class Certificate:
    """What is known of a peer's certificate, which has been verified already."""

    fingerprint: str
    """`sha256:` and 64 lower-case digits."""
    subject: str
    """Distinguished name as RFC 4514 writes it, such as `CN=PACS,O=Hospital`."""


def server_context(files: TlsFiles, *, require_certificate: bool) -> ssl.SSLContext:
    """Return the context of a listener. A client's certificate is verified, and needed with `require_certificate`.

    Raises `ConfigurationError` where a file is missing or is not what it should be.
    """
    if files.certificate is None or files.key is None:
        raise ConfigurationError("DICOM over TLS needs REGIONMIR_TLS_CERTIFICATE and REGIONMIR_TLS_KEY")
    if files.authorities is None and require_certificate:
        raise ConfigurationError("to verify certificates of peers, set REGIONMIR_TLS_AUTHORITIES")
    context = _context(ssl.PROTOCOL_TLS_SERVER, files)
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    if files.authorities is not None:
        context.verify_mode = ssl.CERT_REQUIRED if require_certificate else ssl.CERT_OPTIONAL
    return context


def client_context(files: TlsFiles, *, pinned: bool = False) -> ssl.SSLContext:
    """Return the context for calling a peer; it shows our certificate, if there is one.

    The name in the peer's certificate must be the host that we call; with `pinned` the caller compares the
    certificate itself (see `matches`) instead. Raises `ConfigurationError`.
    """
    if files.authorities is None:
        raise ConfigurationError("to verify certificates of peers, set REGIONMIR_TLS_AUTHORITIES")
    context = _context(ssl.PROTOCOL_TLS_CLIENT, files)
    context.check_hostname = not pinned
    return context


def certificate_of(connection: ssl.SSLSocket) -> Certificate | None:
    """Return the peer's certificate of a connection whose handshake is done, None where it showed none."""
    encoded = connection.getpeercert(binary_form=True)
    if not encoded:
        return None
    described: dict[str, Any] = dict(connection.getpeercert() or {})
    digest = hashlib.sha256(encoded).hexdigest()
    return Certificate(FINGERPRINT_PREFIX + digest, distinguished_name(described.get("subject", ())))


def distinguished_name(subject: Sequence[Sequence[tuple[str, str]]]) -> str:
    """Return a subject as `ssl` gives it in the form of RFC 4514: the most specific part first, escaped."""
    parts = ["+".join(f"{_SHORT.get(kind, kind)}={_escaped(value)}" for kind, value in rdn) for rdn in subject]
    return ",".join(reversed(parts))


def parse_certificate(text: str) -> str:
    """Return what names a peer's certificate: `sha256:` with 64 digits, or a distinguished name.

    A fingerprint may have colons and capitals. Raises `InvalidIdentifier`.
    """
    text = text.strip()
    if text.lower().startswith(FINGERPRINT_PREFIX):
        digits = text[len(FINGERPRINT_PREFIX) :].replace(":", "").lower()
        if not _FINGERPRINT.fullmatch(digits):
            raise InvalidIdentifier("a fingerprint is sha256: and 64 hexadecimal digits")
        return FINGERPRINT_PREFIX + digits
    if text and "=" not in text:
        raise InvalidIdentifier(f"not a fingerprint (sha256:...) and not a subject (CN=...,O=...): {text[:80]!r}")
    return text


def matches(certificate: Certificate | None, wanted: str) -> bool:
    """Return whether a certificate is the one that `wanted` (see `parse_certificate`) names."""
    if certificate is None or not wanted:
        return False
    return wanted == (certificate.fingerprint if wanted.startswith(FINGERPRINT_PREFIX) else certificate.subject)


def _context(protocol: int, files: TlsFiles) -> ssl.SSLContext:
    _refuse_open_key(files.key)
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(":".join(TLS_1_2_SUITES))
    try:
        if files.authorities is not None:
            context.load_verify_locations(cafile=files.authorities)
        if files.certificate is not None:
            context.load_cert_chain(files.certificate, files.key, password=_no_password)
    except (OSError, ValueError) as error:  # a missing file, or ssl.SSLError: no PEM, a key of another certificate
        named = ", ".join(str(path) for path in (files.authorities, files.certificate, files.key) if path)
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(f"the TLS files ({named}) cannot be used: {why}") from None
    return context


def _refuse_open_key(key: Path | None) -> None:
    """Return if not everybody on this machine may read the key. Raises `ConfigurationError`."""
    if key is not None and key.exists() and key.stat().st_mode & 0o007:
        raise ConfigurationError(f"everybody may read the key {key}: chmod 600 it")


def _no_password() -> str:
    """Refuse an encrypted key: OpenSSL would ask for its password on the terminal."""
    raise ValueError("the key is encrypted; write it without a password, mode 0600")


def _escaped(value: str) -> str:
    escaped = re.sub(r'([,+"\\<>;])', r"\\\1", value)
    if escaped.startswith(("#", " ")):
        escaped = "\\" + escaped
    return escaped[:-1] + "\\ " if escaped.endswith(" ") and not escaped.endswith("\\ ") else escaped
