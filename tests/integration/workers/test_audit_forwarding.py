"""The audit trail at a syslog server: in order, after an absence too, over UDP and TLS."""

import re
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from db import audit
from db.engine import Database
from regionmir.core.syslog import SyslogTarget
from regionmir.core.tls import TlsFiles, server_context
from tests.conftest import absent
from tests.support.audit_schema import faults
from tests.support.certificates import Authority, openssl
from tests.support.ports import free_port
from workers.audit_forwarding import AuditForwarder

_FRAME = re.compile(rb"(\d+) ")


def record(database: Database, *names: str) -> None:
    for name in names:
        with database.session() as session:
            audit.record(session, "peer added", actor="operator", address="", detail={"ae_title": name})


def message_of(line: bytes) -> str:
    header, _, message = line.partition(b"\xef\xbb\xbf")
    assert header.startswith(b"<85>1 ")
    assert b" DICOM+RFC3881 - " in header
    return message.decode()


def subject(message: str) -> str:
    (found,) = re.findall('ParticipantObjectID="(.*?)"', message)
    return str(found)


def test_each_event_with_a_message_goes_once_and_in_order_over_udp(database: Database) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(20)
        forwarder = AuditForwarder(database, SyslogTarget("udp", "127.0.0.1", server.getsockname()[1]))
        record(database, "FIRST", "SECOND")
        with database.session() as session:
            audit.record(session, "reindex", actor="operator", address="", detail={})
        assert forwarder.forward() == 3
        record(database, "THIRD")
        assert forwarder.forward() == 1
        assert forwarder.forward() == 0
        messages = [message_of(server.recv(65_536)) for _ in range(3)]
    assert [subject(message) for message in messages] == ["FIRST", "SECOND", "THIRD"]
    assert [fault for message in messages for fault in faults(message)] == []


def test_what_a_server_missed_is_told_when_it_is_back_over_tls(database: Database, tmp_path: Path) -> None:
    if openssl() is None:
        absent("openssl")
    authority = Authority(tmp_path)
    port = free_port()
    files = authority.issue("node").files(authority)
    forwarder = AuditForwarder(database, SyslogTarget("tls", "127.0.0.1", port), files)
    record(database, "FIRST", "SECOND")
    assert forwarder.forward() == 0
    with tls_server(port, authority.issue("logs").files(authority)) as received:
        assert forwarder.forward() == 2
        lines = received.result(30)
    assert [subject(message_of(line)) for line in lines] == ["FIRST", "SECOND"]
    assert forwarder.forward() == 0


@contextmanager
def tls_server(port: int, files: TlsFiles) -> Iterator["Future[list[bytes]]"]:
    """Take one connection and give the frames that come over it."""
    context = server_context(files, require_certificate=True)
    with socket.create_server(("127.0.0.1", port)) as listener, ThreadPoolExecutor(1) as pool:
        listener.settimeout(30)
        yield pool.submit(_frames, listener, context)


def _frames(listener: socket.socket, context: ssl.SSLContext) -> list[bytes]:
    plain, _ = listener.accept()
    with context.wrap_socket(plain, server_side=True) as connection:
        content = b""
        while part := connection.recv(65_536):
            content += part
        connection.unwrap()
    frames = []
    while content:
        match = _FRAME.match(content)
        assert match is not None
        end = match.end() + int(match[1])
        frames.append(content[match.end() : end])
        content = content[end:]
    return frames
