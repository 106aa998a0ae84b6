"""What the commands that speak DICOM share: whom they call, and as whom."""

import typer

from regionmir.core.identifiers import AETitle, parse_ae_title
from regionmir.core.settings import Settings
from regionmir.scu.peer import PeerAddress, parse_peer

CALLING_AE = "REGIONMIR_CLI"
"""AE title of the command line. Register it to be shown identities: `regionmir peers add REGIONMIR_CLI ...`."""

TO = typer.Option(None, "--to", metavar="AE@HOST:PORT", help="The peer to call; unless told, the node of the settings.")
CALLING = typer.Option(CALLING_AE, "--calling", metavar="AE", help="AE title to call as.")

_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - compared, not bound


def called_peer(to: str | None, settings: Settings) -> PeerAddress:
    """Return the peer named on the command line, else our own node. Raises `InvalidIdentifier`."""
    if to is not None:
        return parse_peer(to)
    host = _EVERY_ADDRESS.get(settings.dicom_host, settings.dicom_host)
    return PeerAddress(AETitle(settings.ae_title), host, settings.dicom_port)


def calling_title(text: str) -> AETitle:
    """Return the AE title to call as. Raises `InvalidAETitle`."""
    return parse_ae_title(text)
