"""Why there is no association: what the peer said, also where pynetdicom did not look at it."""

from types import SimpleNamespace
from typing import Any

import pytest
from pynetdicom.pdu_primitives import A_ASSOCIATE

from regionmir.core.errors import PeerRefused, PeerUnavailable
from regionmir.core.identifiers import AETitle
from regionmir.scu.association import NoCommonContext, _why_not
from regionmir.scu.peer import PeerAddress

PEER = PeerAddress(AETitle("PACS"), "127.0.0.1", 104)
ACCEPTED, FOR_GOOD, FOR_NOW = 0x00, 0x01, 0x02


def answer(result: int) -> A_ASSOCIATE:
    said = A_ASSOCIATE()
    said.result = result
    if result != ACCEPTED:
        said.result_source, said.diagnostic = 0x01, 0x01
    return said


def why(read: A_ASSOCIATE | None, unread: A_ASSOCIATE | None) -> Exception:
    opened: Any = SimpleNamespace(
        acceptor=SimpleNamespace(primitive=read), dul=SimpleNamespace(peek_next_pdu=lambda: unread)
    )
    return _why_not(opened, PEER, "")


@pytest.mark.parametrize(
    ("result", "kind"), [(FOR_GOOD, PeerRefused), (FOR_NOW, PeerUnavailable)], ids=["for good", "for now"]
)
def test_a_rejection_is_told_as_such_also_where_it_was_not_read(result: int, kind: type[Exception]) -> None:
    for told in (why(answer(result), None), why(None, answer(result))):
        assert type(told) is kind
        assert "rejects the association" in str(told)


def test_a_peer_that_accepts_and_is_gone_at_once_may_be_there_later() -> None:
    assert type(why(None, answer(ACCEPTED))) is PeerUnavailable
    assert type(why(answer(ACCEPTED), None)) is NoCommonContext


def test_a_peer_that_says_nothing_may_be_there_later() -> None:
    assert type(why(None, None)) is PeerUnavailable
