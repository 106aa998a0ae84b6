"""Many peers at once, and peers that waste a server's time: none takes the service away from the others."""

import contextlib
import select
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from dicom_node.arrival import MAX_HELD_BYTES, MAX_QUEUED
from tests.hostile import wire
from tests.integration.dicom_node.test_associations import wait_until_accepted
from tests.integration.dicom_node.test_store import wait_until
from tests.support.dicom import CR, encoded, radiograph
from tests.support.raw_peer import ABORT, ACCEPT, REJECT, RELEASE_REPLY, VERIFICATION, RawPeer

_ASSOCIATIONS = 64
_FRAGMENT = 64


@contextlib.contextmanager
def peers(port: int, count: int, source: str = "127.0.0.1") -> Iterator[list[RawPeer]]:
    """Yield so many connections from an address of loopback that say nothing yet."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(RawPeer(port, source=source)) for _ in range(count)]


def test_sixty_four_associations_store_at_once_and_the_next_is_rejected(start_node) -> None:
    running = start_node(max_associations=_ASSOCIATIONS, max_associations_per_peer=_ASSOCIATIONS)
    films = [radiograph(size=128) for _ in range(_ASSOCIATIONS)]
    with peers(running.port, _ASSOCIATIONS) as senders, RawPeer(running.port) as one_more:
        assert [sender.associate() for sender in senders] == [ACCEPT] * _ASSOCIATIONS
        assert one_more.associate() == REJECT
        for sender, film in zip(senders, films, strict=True):  # all are in the middle of an object at one moment
            sender.begin_store(film)
            sender.send_fragment(encoded(film)[:1000], last=False)
        wait_until(lambda: len(running.incoming()) == _ASSOCIATIONS)
        for sender, film in zip(senders, films, strict=True):
            sender.send_fragment(encoded(film)[1000:], last=True)
        assert [sender.status() for sender in senders] == [0x0000] * _ASSOCIATIONS
        assert [sender.release() for sender in senders] == [RELEASE_REPLY] * _ASSOCIATIONS
    assert {row.sop_instance_uid for row in running.instances()} == {film.SOPInstanceUID for film in films}


def test_connections_without_an_association_take_none_from_others(start_node) -> None:
    running = start_node(max_associations=4, max_associations_per_peer=4, acse_timeout_s=20)
    with peers(running.port, 4, "127.0.0.2"), peers(running.port, 2, "127.0.0.3"), RawPeer(running.port) as peer:
        assert peer.associate() == ACCEPT
        assert peer.store(radiograph()) == 0x0000


def test_one_address_may_hold_only_so_many_connections_and_so_may_all_together(start_node) -> None:
    running = start_node(max_associations=3, max_associations_per_peer=2, acse_timeout_s=20)
    with peers(running.port, 2, "127.0.0.2") as first, peers(running.port, 2, "127.0.0.2") as over:
        assert all(one.is_closed(5) for one in over)
        with peers(running.port, 2, "127.0.0.3"), peers(running.port, 2, "127.0.0.4") as last:
            with RawPeer(running.port, source="127.0.0.5") as none_left:
                assert none_left.is_closed(5)
            assert not any(one.is_closed(0.05) for one in [*first, *last])


def test_one_address_may_hold_only_so_many_associations(start_node) -> None:
    running = start_node(max_associations=8, max_associations_per_peer=2)
    with RawPeer(running.port) as first, RawPeer(running.port, source="127.0.0.2") as other:
        assert first.associate() == ACCEPT
        with RawPeer(running.port) as second:
            assert second.associate() == ACCEPT
            with RawPeer(running.port) as third:
                assert third.associate() == REJECT
            assert other.associate() == ACCEPT
        wait_until_accepted(running.port).release()


def test_a_request_that_comes_byte_by_byte_is_cut_off_at_the_acse_timeout(start_node) -> None:
    running = start_node(acse_timeout_s=1.0, network_timeout_s=60.0)
    with RawPeer(running.port) as slow:
        began = time.monotonic()
        slow.socket.sendall(b"\x01\x00" + struct.pack(">L", 5000))
        with contextlib.suppress(ConnectionError):
            while not slow.is_closed(0.05) and time.monotonic() < began + 20:
                slow.socket.sendall(b"\x00")
        assert time.monotonic() - began < 10


def test_an_object_that_never_ends_is_cut_off_though_its_sender_is_never_idle(start_node) -> None:
    running = start_node(message_timeout_s=1.0, network_timeout_s=60.0, max_associations=1)
    film, began = radiograph(size=256), time.monotonic()
    with RawPeer(running.port) as slow:
        assert slow.associate() == ACCEPT
        slow.begin_store(film)
        with contextlib.suppress(ConnectionError):
            while not slow.is_closed(0.05) and time.monotonic() < began + 20:
                slow.send_fragment(bytes(_FRAGMENT), last=False)
        assert time.monotonic() - began < 10
    wait_until(lambda: running.incoming() == [])
    wait_until_accepted(running.port).release()
    assert running.instances() == []


def test_many_quick_messages_are_not_taken_for_one_slow_one(start_node) -> None:
    running = start_node(message_timeout_s=1.5)
    with RawPeer(running.port) as peer:
        assert peer.associate() == ACCEPT
        end = time.monotonic() + 4.5
        while time.monotonic() < end:
            assert peer.store(radiograph()) == 0x0000
            time.sleep(0.1)


def test_a_peer_that_is_silent_and_never_releases_is_aborted(start_node) -> None:
    running = start_node(network_timeout_s=0.5, max_associations=1)
    with RawPeer(running.port) as silent:
        assert silent.associate() == ACCEPT
        assert silent.read()[0] == ABORT
        wait_until_accepted(running.port).release()


@pytest.mark.parametrize(("called", "answer"), [("REGIONMIR", RELEASE_REPLY), ("NOBODY", REJECT)])
def test_a_peer_that_never_closes_is_closed_at_the_artim_timeout(start_node, called: str, answer: int) -> None:
    running = start_node(acse_timeout_s=0.5, max_associations=1, network_timeout_s=60.0)
    before = threading.active_count()
    with RawPeer(running.port) as peer:
        said = peer.associate(called=called, sop_class=VERIFICATION)
        assert (peer.release() if said == ACCEPT else said) == answer
        assert peer.is_closed(10)
    wait_until(lambda: threading.active_count() <= before)


def test_a_peer_that_waits_for_no_answer_is_aborted_before_it_fills_the_disk(start_node) -> None:
    running = start_node(max_associations=1)
    film = radiograph()
    with RawPeer(running.port) as hasty:
        assert hasty.associate() == ACCEPT
        sent = 0
        with contextlib.suppress(ConnectionError):
            for _ in range(20_000):
                hasty.begin_store(film)
                hasty.send_fragment(encoded(film)[:200], last=True)
                sent += 1
                assert len(running.incoming()) <= 2 * MAX_QUEUED
        assert sent < 20_000
    wait_until_accepted(running.port).release()
    assert running.incoming() == []


@pytest.mark.parametrize("command", [False, True], ids=["Identifier", "command"])
def test_a_message_that_never_ends_is_aborted_before_it_fills_the_memory(start_node, command: bool) -> None:
    running = start_node(max_associations=1)
    request, find, _ = wire.find_request(b"")
    endless, sent = wire.data(bytes(64_000), command=command, last=False), 0
    with RawPeer(running.port) as peer:
        peer.socket.sendall(request)
        assert peer.read()[0] == ACCEPT
        peer.socket.sendall(b"" if command else find)
        with contextlib.suppress(ConnectionError):
            while sent < 16 * MAX_HELD_BYTES and not select.select([peer.socket], [], [], 0)[0]:
                peer.socket.sendall(endless)
                sent += 64_000
    assert MAX_HELD_BYTES < sent < 16 * MAX_HELD_BYTES
    wait_until_accepted(running.port).release()


def test_a_data_set_that_goes_on_in_another_context_leaves_nothing_behind(start_node) -> None:
    running = start_node(max_associations=1, network_timeout_s=60.0)
    film = radiograph()
    pdus = wire.store_request(encoded(film), CR, film.SOPInstanceUID)
    with RawPeer(running.port) as peer:
        peer.socket.sendall(wire.associate_request([CR, "1.2.840.10008.5.1.4.31"]))
        assert peer.read()[0] == ACCEPT
        peer.socket.sendall(pdus[1] + wire.data(encoded(film)[:500], command=False, last=False))
        peer.socket.sendall(wire.data(encoded(film)[500:], command=False, context=3))
        assert peer.is_closed(10)
        wait_until(lambda: running.incoming() == [])
        wait_until_accepted(running.port).release()
    assert running.instances() == []


def test_a_command_with_a_value_that_is_none_leaves_nothing_behind(start_node) -> None:
    running = start_node(max_associations=1, network_timeout_s=60.0)
    film = radiograph()
    odd = wire.command_set(
        sop_class=CR, command=0x0001, message_id=1, priority=9, data_set="EVEN", sop_instance=film.SOPInstanceUID
    )
    with RawPeer(running.port) as peer:
        peer.socket.sendall(wire.associate_request([CR]))
        assert peer.read()[0] == ACCEPT
        peer.socket.sendall(wire.data(odd, command=True) + wire.data(encoded(film), command=False))
        assert peer.is_closed(10)
        wait_until(lambda: running.incoming() == [])
        wait_until_accepted(running.port).release()
