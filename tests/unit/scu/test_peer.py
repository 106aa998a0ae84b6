"""Writing down where a peer is."""

import pytest

from regionmir.core.errors import InvalidIdentifier
from regionmir.scu.peer import PeerAddress, parse_peer


@pytest.mark.parametrize(
    ("text", "ae_title", "host", "port"),
    [
        ("REGIONMIR@127.0.0.1:11112", "REGIONMIR", "127.0.0.1", 11112),
        ("PACS ONE@pacs.example.org:104", "PACS ONE", "pacs.example.org", 104),
        ("PACS@[::1]:104", "PACS", "::1", 104),
    ],
)
def test_a_peer_is_read_from_ae_host_and_port(text: str, ae_title: str, host: str, port: int) -> None:
    peer = parse_peer(text)

    assert peer == PeerAddress(peer.ae_title, host, port)
    assert peer.ae_title == ae_title
    assert str(peer) == text


@pytest.mark.parametrize(
    "text",
    ["", "PACS", "PACS@host", "@host:104", "PACS@host:0", "PACS@host:70000", "SEVENTEEN_LETTERS@h:104", "A@b c:1"],
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidIdentifier):
        parse_peer(text)
