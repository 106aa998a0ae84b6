"""What the commands that speak DICOM share: whom they call, as whom, and over TLS how."""

from dataclasses import dataclass, replace
from pathlib import Path

import typer

from regionmir.core.errors import ConfigurationError
from regionmir.core.identifiers import AETitle, parse_ae_title
from regionmir.core.settings import Settings
from regionmir.core.tls import TlsFiles
from regionmir.scu.peer import PeerAddress, PeerTls, parse_peer

CALLING_AE = "REGIONMIR_CLI"
"""AE title of the command line. Register it to be shown identities: `regionmir peers add REGIONMIR_CLI ...`."""

TO = typer.Option(None, "--to", metavar="AE@HOST:PORT", help="The peer to call; unless told, the node of the settings.")
CALLING = typer.Option(CALLING_AE, "--calling", metavar="AE", help="AE title to call as.")
TLS = typer.Option(False, "--tls", help="Call over TLS; the peer's certificate must be in the name of its host.")
TLS_CA = typer.Option(
    None, "--tls-ca", metavar="FILE", help="Authorities to believe (PEM); unless told, REGIONMIR_TLS_AUTHORITIES."
)
TLS_CERTIFICATE = typer.Option(
    None, "--tls-certificate", metavar="FILE", help="Certificate to show (PEM); unless told, REGIONMIR_TLS_CERTIFICATE."
)
TLS_KEY = typer.Option(None, "--tls-key", metavar="FILE", help="Its key (PEM); unless told, REGIONMIR_TLS_KEY.")

_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - compared, not bound


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """What the command line says of TLS; a file that it does not name is that of the settings."""

    wanted: bool
    authorities: Path | None
    certificate: Path | None
    key: Path | None

    def peer_tls(self, settings: Settings) -> PeerTls | None:
        """Return how to call over TLS, None where it is not wanted. Raises `ConfigurationError`."""
        if not self.wanted:
            if self.authorities or self.certificate or self.key:
                raise ConfigurationError("files for TLS are given: add --tls")
            return None
        if (self.certificate is None) != (self.key is None):
            raise ConfigurationError("--tls-certificate and --tls-key go together")
        own = settings.tls_files
        authorities = self.authorities or own.authorities
        if authorities is None:
            raise ConfigurationError("say whose certificates to believe: --tls-ca FILE or REGIONMIR_TLS_AUTHORITIES")
        return PeerTls(TlsFiles(self.certificate or own.certificate, self.key or own.key, authorities))


def called_peer(to: str | None, settings: Settings, options: TlsOptions) -> PeerAddress:
    """Return the peer that the command line names, else our node. Raises `InvalidIdentifier`, `ConfigurationError`."""
    tls = options.peer_tls(settings)
    if to is not None:
        return replace(parse_peer(to), tls=tls)
    if tls is not None and not settings.dicom_tls_port:
        raise ConfigurationError("the node of the settings has no port for TLS (REGIONMIR_DICOM_TLS_PORT)")
    host = _EVERY_ADDRESS.get(settings.dicom_host, settings.dicom_host)
    port = settings.dicom_port if tls is None else settings.dicom_tls_port
    return PeerAddress(AETitle(settings.ae_title), host, port, tls)


def calling_title(text: str) -> AETitle:
    """Return the AE title to call as. Raises `InvalidAETitle`."""
    return parse_ae_title(text)
