"""The proxy keeps what passes, and puts messages together from their PDUs."""

import socket
import struct
import threading

from tests.support.recording_proxy import recording_proxy, without_fragments


def p_data(*fragments: bytes) -> bytes:
    """Return a P-DATA-TF PDU with a presentation data value for each fragment (PS3.8 9.3.5)."""
    values = b"".join(struct.pack(">LBB", len(one) + 2, 1, 0) + one for one in fragments)
    return struct.pack(">BBL", 4, 0, len(values)) + values


def test_a_value_that_runs_across_pdus_and_fragments_is_put_together() -> None:
    release = struct.pack(">BBL", 5, 0, 4) + bytes(4)
    assert without_fragments(p_data(b"CAN", b"AR") + p_data(b"Y00001") + release) == b"CANARY00001"


def test_both_directions_are_kept_and_taken_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as target:
        answering = threading.Thread(target=_answer, args=(target,))
        answering.start()
        with recording_proxy(target.getsockname()[1]) as proxy:
            with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client:
                client.sendall(b"asked")
                assert client.recv(100) == b"answered"
            assert (proxy.take_calling(), proxy.take_called()) == ([b"asked"], [b"answered"])
            assert proxy.take_called() == []
        answering.join(10)


def _answer(target: socket.socket) -> None:
    connection, _ = target.accept()
    with connection:
        assert connection.recv(100) == b"asked"
        connection.sendall(b"answered")
