"""Who may open an association, and with which disclosure."""

import pytest

from db.peers import Peer
from dicom_node.access import CALLING_AE_UNKNOWN, Refusal, caller_from, comes_from, is_called
from dicom_node.node import is_loopback
from regionmir.core.identifiers import AETitle
from regionmir.core.records import Caller, Disclosure

PACS = AETitle("PACS")


def peer(**values: object) -> Peer:
    return Peer(PACS, **{"can_store": True, "disclosure": Disclosure.IDENTIFIED, **values})  # type: ignore[arg-type]


def caller(row: Peer | None, address: str = "127.0.0.1", *, loopback: bool = True) -> Caller:
    found = caller_from(row, PACS, address, bound_to_loopback=loopback)
    assert isinstance(found, Caller)
    return found


def test_a_registered_peer_has_the_rights_and_disclosure_of_its_row() -> None:
    found = caller(peer(source_address="10.1.2.3", can_correct=True), "10.1.2.3", loopback=False)
    assert found.registered
    assert found.disclosure == Disclosure.IDENTIFIED
    assert (found.rights.store, found.rights.correct, found.rights.find) == (True, True, False)


def test_identified_answers_need_a_source_address_beyond_loopback() -> None:
    row = peer(source_address="")
    assert caller(row, "10.1.2.3", loopback=False).disclosure == Disclosure.PSEUDONYMOUS
    assert caller(row).disclosure == Disclosure.IDENTIFIED


def test_a_title_from_another_address_is_a_strangers() -> None:
    row = peer(source_address="10.1.2.3", can_correct=True)
    assert caller_from(row, PACS, "10.9.9.9", bound_to_loopback=False) == CALLING_AE_UNKNOWN
    stranger = caller(row)
    assert not stranger.registered
    assert not stranger.rights.correct
    assert stranger.disclosure == Disclosure.PSEUDONYMOUS


def test_a_stranger_is_let_in_on_loopback_only() -> None:
    assert caller(None).disclosure == Disclosure.PSEUDONYMOUS
    assert isinstance(caller_from(None, PACS, "10.1.2.3", bound_to_loopback=False), Refusal)


@pytest.mark.parametrize(
    ("address", "source", "expected"),
    [
        ("10.1.2.3", "", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.0.0/16", True),
        ("10.1.2.3", "10.1.2.4", False),
        ("::ffff:10.1.2.3", "10.1.2.3", True),
        ("fe80::1", "fe80::/10", True),
        ("10.1.2.3", "pacs.example", False),
        ("10.1.2.3", "fe80::/10", False),
    ],
)
def test_source_addresses_are_addresses_or_networks(address: str, source: str, expected: bool) -> None:
    assert comes_from(address, source) is expected


@pytest.mark.parametrize(("title", "expected"), [("REGIONMIR", True), ("RGN_ALL", True), ("RGN_LLLZ", True)])
def test_called_titles_are_ours_and_the_regions(title: str, expected: bool) -> None:
    assert is_called(title, "REGIONMIR")
    assert not is_called(title + "X", "REGIONMIR")
    assert not is_called("", "REGIONMIR")


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("", False)],
)
def test_loopback_is_loopback_and_nothing_else(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
