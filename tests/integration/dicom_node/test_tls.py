"""DICOM over TLS: dcmtk, openssl and our own SCU as peers; who shows no good certificate is turned away."""

import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from db import audit
from regionmir.core.errors import ConfigurationError, PeerUnavailable
from regionmir.core.identifiers import AETitle
from regionmir.core.records import Disclosure
from regionmir.core.tls import TlsFiles, client_context, parse_certificate, server_context
from regionmir.scu.echo import echo
from regionmir.scu.peer import PeerAddress, PeerTls
from regionmir.scu.store import Result, store
from tests.conftest import absent
from tests.integration.dicom_node.conftest import NodeFactory, RunningNode
from tests.support.certificates import Authority, Issued, openssl
from tests.support.dicom import as_file, radiograph
from tests.support.peers import wait_for_port
from tests.support.ports import free_port


class Pki:
    """One authority that everybody believes, one that nobody does, and what they issued."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.node = self.authority.issue("node")
        self.peer = self.authority.issue("PACS")
        self.expired = self.authority.issue("expired", days=-1)
        self.stranger = Authority(folder, "unknown").issue("PACS")

    def settings(self, **changes: object) -> dict[str, object]:
        files = {"tls_certificate": self.node.certificate, "tls_key": self.node.key}
        return {**files, "tls_authorities": self.authority.certificate, "dicom_tls_port": free_port(), **changes}


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    if openssl() is None:
        absent("openssl")
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def secured(start_node: NodeFactory, pki: Pki) -> RunningNode:
    """Return a node with a plain port and one for TLS."""
    return start_node(**pki.settings())


def tls_peer(node: RunningNode, issued: Issued, pki: Pki, pin: str = "") -> PeerAddress:
    return PeerAddress(
        AETitle("REGIONMIR"), "127.0.0.1", node.server.tls_port, PeerTls(issued.files(pki.authority), pin)
    )


def tool(dcmtk: Path, name: str, node: RunningNode, *options: object) -> subprocess.CompletedProcess[str]:
    where = ["-aec", "REGIONMIR", "127.0.0.1", str(node.server.tls_port)]
    command = [str(dcmtk / name), *map(str, options[:-1] if name == "storescu" else options), *where]
    return subprocess.run(
        [*command, str(options[-1])] if name == "storescu" else command, capture_output=True, text=True, timeout=120
    )


def with_certificate(issued: Issued, pki: Pki) -> list[object]:
    return ["+tls", issued.key, issued.certificate, "+cf", pki.authority.certificate]


def test_dcmtk_echoes_sends_and_finds_over_tls_while_the_plain_port_serves(
    secured: RunningNode, pki: Pki, dcmtk: Path, tmp_path: Path
) -> None:
    film = tmp_path / "film.dcm"
    film.write_bytes(as_file(radiograph()))
    assert tool(dcmtk, "echoscu", secured, *with_certificate(pki.peer, pki)).returncode == 0
    sent = tool(dcmtk, "storescu", secured, *with_certificate(pki.peer, pki), film)
    assert sent.returncode == 0, sent.stderr
    found = tool(
        dcmtk,
        "findscu",
        secured,
        *with_certificate(pki.peer, pki),
        *("-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID"),
    )
    assert found.returncode == 0
    assert "StudyInstanceUID" in found.stdout + found.stderr
    plain = PeerAddress(AETitle("REGIONMIR"), "127.0.0.1", secured.port)
    assert echo(plain, "TESTSCU").status.is_success


def test_dcmtk_without_a_certificate_is_turned_away_unless_any_may_call(
    start_node: NodeFactory, pki: Pki, dcmtk: Path
) -> None:
    anonymous = ["+tla", "+cf", pki.authority.certificate]
    strict = start_node(**pki.settings())
    assert tool(dcmtk, "echoscu", strict, *anonymous).returncode != 0
    open_ = start_node(**pki.settings(dicom_tls_clients="any"))
    assert tool(dcmtk, "echoscu", open_, *anonymous).returncode == 0
    wrong = tool(dcmtk, "echoscu", open_, "+tls", pki.stranger.key, pki.stranger.certificate, "-ic")
    assert wrong.returncode != 0


@pytest.mark.parametrize("who", ["expired", "stranger"])
def test_an_expired_or_unknown_certificate_is_refused_logged_audited_and_harms_nobody(
    secured: RunningNode, pki: Pki, who: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(PeerUnavailable, match="over TLS"):
        echo(tls_peer(secured, getattr(pki, who), pki), "TESTSCU")
    deadline = time.monotonic() + 20
    while not (events := refusals(secured)) and time.monotonic() < deadline:
        time.sleep(0.05)
    reason = "expired" if who == "expired" else "unable to get local issuer"
    assert reason in events[0].detail["why"]
    assert 'originalText="Node Authentication"' in events[0].message
    assert "TLS connection refused" in "".join(capsys.readouterr())
    assert echo(tls_peer(secured, pki.peer, pki), "TESTSCU").status.is_success


def refusals(node: RunningNode) -> list[audit.AuditEvent]:
    with node.node.database.session() as session:
        return audit.listing(session, kinds=["node refused"])


def test_what_is_no_tls_is_cut_off_and_harms_nobody(secured: RunningNode, pki: Pki) -> None:
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x01\x00\x00\x00\x00\x10" + b"x" * 16, b""):
        with (
            socket.create_connection(("127.0.0.1", secured.server.tls_port), timeout=20) as probe,
            suppress(ConnectionError),  # as good an end as any
        ):
            probe.send(garbage)
            with suppress(OSError):  # it may be gone already
                probe.shutdown(socket.SHUT_WR)
            while probe.recv(4096):
                pass
    assert echo(tls_peer(secured, pki.peer, pki), "TESTSCU").status.is_success


def test_a_handshake_has_one_deadline_however_slowly_it_goes(start_node: NodeFactory, pki: Pki) -> None:
    node = start_node(**pki.settings(acse_timeout_s=1.0))
    with socket.create_connection(("127.0.0.1", node.server.tls_port), timeout=20) as slow:
        slow.send(b"\x16\x03\x01")
        started = time.monotonic()
        for byte in b"\x02\x00" + b"\x00" * 100:
            time.sleep(0.2)
            try:
                slow.send(bytes([byte]))
            except OSError:
                break
        assert time.monotonic() - started < 15


def test_openssl_agrees_only_on_what_bcp_195_lists(secured: RunningNode, pki: Pki) -> None:
    def agreed(*options: str) -> str:
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{secured.server.tls_port}", "-CAfile"]
        command += [str(pki.authority.certificate), "-cert", str(pki.peer.certificate), "-key", str(pki.peer.key)]
        done = subprocess.run([*command, *options], input="", capture_output=True, text=True, timeout=60)
        lines = [line for line in done.stdout.splitlines() if line.startswith("New, ")]
        return lines[0] if done.returncode == 0 and lines else ""

    assert "TLSv1.3" in agreed()
    assert "ECDHE-RSA-AES256-GCM-SHA384" in agreed("-tls1_2", "-cipher", "ECDHE-RSA-AES256-GCM-SHA384")
    assert "TLSv1" not in agreed("-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
    assert "SHA" not in agreed("-tls1_2", "-cipher", "AES128-SHA:DHE-RSA-AES128-SHA:ECDHE-RSA-AES128-SHA")


def test_a_peer_with_a_certificate_is_itself_only_with_that(start_node: NodeFactory, pki: Pki) -> None:
    node = start_node(**pki.settings(dicom_host="0.0.0.0"))
    node.register("PACS", certificate=parse_certificate(pki.peer.fingerprint))
    pinned = tls_peer(node, pki.peer, pki, parse_certificate(pki.node.fingerprint))
    assert echo(pinned, "PACS").status.is_success
    other = pki.authority.issue("other")
    with pytest.raises(Exception, match=r"(?i)calling AE title"):
        echo(tls_peer(node, other, pki), "PACS")
    with pytest.raises(Exception, match=r"(?i)calling AE title"):
        echo(PeerAddress(AETitle("REGIONMIR"), "127.0.0.1", node.port), "PACS")
    node.register("PACS", certificate="CN=PACS,O=Hospital", disclosure=Disclosure.IDENTIFIED)
    assert echo(tls_peer(node, pki.peer, pki), "PACS").status.is_success


def test_our_scu_calls_only_who_shows_the_right_certificate(secured: RunningNode, pki: Pki, tmp_path: Path) -> None:
    film = tmp_path / "film.dcm"
    film.write_bytes(as_file(radiograph()))
    outcomes = list(store(tls_peer(secured, pki.peer, pki), "TESTSCU", [film]))
    assert [one.result for one in outcomes] == [Result.STORED]
    with pytest.raises(PeerUnavailable, match="another certificate"):
        echo(tls_peer(secured, pki.peer, pki, "CN=PACS,O=Hospital"), "TESTSCU")
    files = TlsFiles(pki.peer.certificate, pki.peer.key, pki.stranger.certificate)
    with pytest.raises(PeerUnavailable, match="certificate is refused"):
        echo(PeerAddress(AETitle("REGIONMIR"), "127.0.0.1", secured.server.tls_port, PeerTls(files)), "TESTSCU")
    with pytest.raises(ConfigurationError):
        echo(PeerAddress(AETitle("REGIONMIR"), "127.0.0.1", secured.server.tls_port, PeerTls(TlsFiles())), "TESTSCU")


def test_our_scu_sends_to_dcmtk_over_tls(pki: Pki, dcmtk: Path, tmp_path: Path) -> None:
    film = tmp_path / "film.dcm"
    film.write_bytes(as_file(radiograph()))
    with storescp_tls(dcmtk, pki, tmp_path) as port:
        peer = PeerAddress(AETitle("RECEIVER"), "127.0.0.1", port, PeerTls(pki.node.files(pki.authority)))
        assert [one.result for one in store(peer, "REGIONMIR", [film])] == [Result.STORED]
        nobody = PeerAddress(
            AETitle("RECEIVER"), "127.0.0.1", port, PeerTls(TlsFiles(authorities=pki.authority.certificate))
        )
        with pytest.raises(PeerUnavailable):
            echo(nobody, "REGIONMIR")


@contextmanager
def storescp_tls(dcmtk: Path, pki: Pki, folder: Path) -> Iterator[int]:
    port = free_port()
    command = [str(dcmtk / "storescp"), "-od", str(folder), *map(str, with_certificate(pki.peer, pki)), str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def test_tls_alone_opens_no_plain_port(start_node: NodeFactory, pki: Pki) -> None:
    node = start_node(**pki.settings(dicom_tls_only=True))
    assert node.port == 0
    assert echo(tls_peer(node, pki.peer, pki), "TESTSCU").status.is_success
    with pytest.raises(ConfigurationError, match="DICOM_TLS_PORT"):
        start_node(dicom_tls_only=True)


def test_contexts_begin_at_tls_1_2_and_verify(pki: Pki) -> None:
    server = server_context(pki.node.files(pki.authority), require_certificate=True)
    client = client_context(pki.peer.files(pki.authority))
    assert {server.minimum_version, client.minimum_version} == {ssl.TLSVersion.TLSv1_2}
    assert {server.verify_mode, client.verify_mode} == {ssl.CERT_REQUIRED}
    assert client.check_hostname
